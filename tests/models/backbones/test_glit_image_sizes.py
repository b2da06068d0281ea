"""GLiT at sizes that it was not built, compiled or exported for."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmhybrid.models.backbones.glit import LOCAL_HEADS, GLiT, resize_pos_embed
from mmhybrid.models.layers.glmix import WindowAttention
from mmhybrid.torch_api import EXPORTING

BLOCKS = (
    {'num_attn_heads': 3, 'mlp_ratio': 2, 'qkv_ratio': 1},
    {'num_attn_heads': 1, 'mlp_ratio': 2, 'qkv_ratio': 1, 'conv_ratio': 1, 'kernel_size': 5},
)
EACH_LOCALITY = pytest.mark.parametrize('locality', LOCAL_HEADS)


def build(locality: str = 'conv1d', img_size: Any = 64, **options: Any) -> GLiT:
    arch = {'embed_dims': 24, 'num_heads': 3, 'blocks': BLOCKS, 'locality': locality}
    torch.manual_seed(0)
    model = GLiT(arch, img_size=img_size, **{'out_type': 'featmap', **options}).eval()
    nn.init.normal_(model.pos_embed)
    return model


def image(batch: int, height: int, width: int) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.torch_since(2, 6)
@EACH_LOCALITY
@torch.no_grad()
def test_a_compiled_network_takes_other_sizes(locality: str) -> None:
    """The second is compiled with symbols in the place of numbers, for the third too."""
    torch._dynamo.reset()
    model = build(locality)
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    for size in ((2, 64, 64), (3, 65, 90), (5, 49, 70), (2, 64, 64)):
        torch.testing.assert_close(compiled(image(*size)), model(image(*size)), rtol=1e-4, atol=1e-5)


@pytest.mark.torch_since(2, 6)
@torch.no_grad()
def test_compiled_windows_take_other_sizes() -> None:
    torch._dynamo.reset()
    layer = WindowAttention(32)
    compiled = torch.compile(layer, backend='aot_eager', fullgraph=True)
    for height, width in ((14, 14), (15, 20), (9, 7)):
        x = torch.randn(2, 32, height, width)
        torch.testing.assert_close(compiled(x), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.torch_since(*EXPORTING)
@EACH_LOCALITY
@torch.no_grad()
def test_an_exported_network_takes_other_batches(locality: str) -> None:
    model = build(locality)
    program = torch.export.export(model, (image(2, 64, 64),), dynamic_shapes=({0: torch.export.Dim('batch')},)).module()
    for batch in (1, 5):
        torch.testing.assert_close(program(image(batch, 64, 64)), model(image(batch, 64, 64)))


@pytest.mark.torch_since(*EXPORTING)
@pytest.mark.parametrize('locality', ['conv1d', 'conv2d'])
@torch.no_grad()
def test_an_exported_network_takes_other_sizes(locality: str) -> None:
    """The size that the position embedding is for among them."""
    model = build(locality)
    axes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(model, (image(2, 70, 96),), dynamic_shapes=(axes,)).module()
    for size in ((1, 64, 64), (3, 100, 130)):
        torch.testing.assert_close(program(image(*size)), model(image(*size)), rtol=1e-4, atol=1e-5)


@EACH_LOCALITY
@torch.no_grad()
def test_img_size_is_a_side_or_height_and_width(locality: str) -> None:
    model = build(locality, img_size=(48, 80))
    assert model.pos_embed.shape[1] == (locality != 'conv2d') + 3 * 5
    (output,) = model(image(1, 48, 80))
    assert output.shape == (1, 24, 3, 5)
    square = build(locality, img_size=[64, 64])
    square.load_state_dict(build(locality).state_dict())
    torch.testing.assert_close(square(image(1, 64, 64)), build(locality)(image(1, 64, 64)))
    # at another size what stood for a row stands for it still: an embedding of rows is one of rows
    rows = torch.arange(3.0).repeat_interleave(5).view(1, 15, 1)
    resized = resize_pos_embed(rows, (3, 5), (6, 10)).view(6, 10)
    torch.testing.assert_close(resized, resized[:, :1].expand(6, 10))
    assert (resized[1:] > resized[:-1]).all()


@pytest.mark.parametrize('img_size', [8, (64, 8), (64,), (64, 64, 64), '64', 64.0, None, (64, None)])
def test_other_image_sizes_are_refused(img_size: Any) -> None:
    with pytest.raises(ValueError, match='img_size: got'):
        build(img_size=img_size)


@pytest.mark.parametrize('num_tokens', [0, 1, 2])
@pytest.mark.parametrize('locality', ['conv1d', 'conv2d'])
@pytest.mark.parametrize('img_size', [64, 96, (32, 80)])
def test_position_embeddings_load_whatever_tokens_they_have(num_tokens: int, locality: str, img_size: Any) -> None:
    """Without class token, with one (197 of 14 x 14 patches), and with a distillation token behind it (198)."""
    model = build(locality, img_size)
    has_token = locality != 'conv2d'
    own = model.pos_embed.detach().clone()
    tokens, patches = torch.randn(1, num_tokens, 24), torch.randn(1, 14 * 14, 24)
    state = {**model.state_dict(), 'pos_embed': torch.cat((tokens, patches), 1)}
    state.pop('cls_token', None)
    if num_tokens:
        state['cls_token'] = torch.ones(1, 1, 24)
    model.load_state_dict(state, strict=True)
    torch.testing.assert_close(model.pos_embed[:, has_token:], resize_pos_embed(patches, (14, 14), model.grid))
    if has_token:
        torch.testing.assert_close(model.pos_embed[:, :1], tokens[:, :1] if num_tokens else own[:, :1])
        assert model.cls_token is not None
        assert (model.cls_token == 1).all() == bool(num_tokens)


def test_other_position_embeddings_are_refused_by_torch() -> None:
    model = build()
    for shape in ((1, 14 * 14 + 3, 24), (1, 14 * 14 + 1, 32), (14 * 14 + 1, 24)):
        with pytest.raises(RuntimeError, match='pos_embed'):
            model.load_state_dict({**model.state_dict(), 'pos_embed': torch.zeros(shape)})
    assert math.prod(model.grid) == 16
