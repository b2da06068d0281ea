"""What stands for GLiT's convolution heads: which tokens see which."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from torch import Tensor, nn

from mmhybrid.models.backbones.glit import LOCAL_HEADS, GLiT
from mmhybrid.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[3] / 'configs/glit'
BLOCKS = [
    {'num_attn_heads': 0, 'mlp_ratio': 2, 'conv_ratio': 2, 'kernel_size': 5},
    {'num_attn_heads': 1, 'mlp_ratio': 2, 'qkv_ratio': 1, 'conv_ratio': 1, 'kernel_size': 3},
]


def arch(locality: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {'embed_dims': 24, 'num_heads': 3, 'locality': locality, 'blocks': list(blocks or BLOCKS)}


def sees(heads: nn.Module, x: Tensor) -> Tensor:
    """(tokens, tokens): whether the output of the first depends on the second."""
    x = x.clone().requires_grad_()
    out = heads.eval()(x)
    rows = [
        torch.autograd.grad(token.square().sum(), x, retain_graph=True)[0].flatten(0, -2).any(-1)
        for token in out.flatten(0, -2)
    ]
    return torch.stack(rows)


@settings(deadline=None, max_examples=25)
@given(length=st.integers(1, 30), window=st.integers(1, 12))
def test_windows(length: int, window: int) -> None:
    """A token sees its window; what is left over joins the first one."""
    heads = LOCAL_HEADS['window'](2, 4, 1.0, window)
    left_over = length % window if length >= window else 0
    window_of = torch.tensor([max(i - left_over, 0) // window for i in range(length)])
    expected = window_of[:, None] == window_of
    assert torch.equal(sees(heads, torch.randn(1, length, 8)), expected)


@pytest.mark.parametrize('window', [14, 28, 49])
def test_the_papers_windows_fill_the_map(window: int) -> None:
    """197 tokens at 224 px: all windows are full, the class token is in the first."""
    expected = [window + 1] + [window] * (196 // window - 1)
    sizes = []
    heads = LOCAL_HEADS['window'](1, 4, 1.0, window)
    heads.attention.register_forward_hook(
        lambda _, args, __: sizes.extend([args[0].shape[-2]] * args[0].flatten(0, -3).shape[0])
    )
    heads(torch.randn(1, 197, 4))
    assert sizes == expected


@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 6), width=st.integers(1, 6), kernel_size=st.sampled_from([1, 3, 5, 7]))
def test_convolution_over_the_map(height: int, width: int, kernel_size: int) -> None:
    """A pixel sees as many rows and columns around it as the kernel reaches."""
    heads = LOCAL_HEADS['conv2d'](2, 4, 2.0, kernel_size).double()
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    at = torch.stack((rows.flatten(), columns.flatten()), -1)
    expected = (at[:, None] - at).abs().amax(-1) <= kernel_size // 2
    assert torch.equal(sees(heads, torch.randn(1, height, width, 8, dtype=torch.float64)), expected)


@settings(deadline=None, max_examples=15)
@given(length=st.integers(1, 20), kernel_size=st.sampled_from([1, 3, 5, 17]))
def test_convolution_over_the_sequence(length: int, kernel_size: int) -> None:
    heads = LOCAL_HEADS['conv1d'](2, 4, 2.0, kernel_size).double()
    at = torch.arange(length)
    expected = (at[:, None] - at).abs() <= kernel_size // 2
    assert torch.equal(sees(heads, torch.randn(1, length, 8, dtype=torch.float64)), expected)


def test_attention_heads_see_all_of_a_map() -> None:
    """Rows and columns are not a batch to them."""
    block = {'num_attn_heads': 3, 'mlp_ratio': 2, 'qkv_ratio': 1}
    model = GLiT(arch('conv2d', block), img_size=64, out_type='raw')
    mixer = model.blocks[0].mixer
    assert sees(mixer, torch.randn(1, 3, 4, 24)).all()
    x = torch.randn(2, 3, 4, 24)
    torch.testing.assert_close(mixer(x).flatten(1, 2), mixer(x.flatten(1, 2)))


def test_networks_on_a_map_have_no_class_token() -> None:
    model = GLiT(arch('conv2d'), img_size=64, out_type='raw')
    assert 'cls_token' not in dict(model.named_parameters())
    assert model.pos_embed.shape == (1, 16, 24)
    x = torch.randn(2, 3, 48, 80)
    outputs = {}
    for out_type in ('raw', 'featmap', 'avg_featmap'):
        model.out_type = out_type
        (outputs[out_type],) = model.eval()(x)
    assert outputs['featmap'].shape == (2, 24, 3, 5)
    torch.testing.assert_close(outputs['raw'], outputs['featmap'].flatten(2).transpose(1, 2))
    torch.testing.assert_close(outputs['avg_featmap'], outputs['featmap'].mean((2, 3)))
    with pytest.raises(ValueError, match=r"out_type: got 'cls_token', allowed: .*avg_featmap"):
        GLiT(arch('conv2d'), img_size=64)


def test_position_embeddings_without_class_token_are_resized_on_load() -> None:
    source = GLiT(arch('conv2d'), img_size=64, out_type='featmap')
    source.init_weights()
    target = GLiT(arch('conv2d'), img_size=96, out_type='featmap')
    target.load_state_dict(source.state_dict(), strict=True)
    assert target.pos_embed.shape == (1, 36, 24)
    x = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(target.eval()(x), source.eval()(x))


@pytest.mark.parametrize('locality', ['conv1d', 'conv2d', 'window'])
def test_sizes(locality: str) -> None:
    """A kernel is odd, a window is not."""
    accepted = {'conv1d': (1, 3, 31), 'conv2d': (1, 3, 7), 'window': (1, 2, 14)}
    for size in accepted[locality]:
        GLiT(arch(locality, {**BLOCKS[0], 'kernel_size': size}), img_size=64, out_type='featmap')
    for size in (0, -1, 1.5, None, True) + (() if locality == 'window' else (2, 14)):
        with pytest.raises(ValueError, match=r'blocks\[0\].kernel_size: got '):
            GLiT(arch(locality, {**BLOCKS[0], 'kernel_size': size}), img_size=64, out_type='featmap')


def parameters(name: str) -> int:
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(str(CONFIGS / f'{name}.py')).model.backbone)
    return sum(parameter.numel() for parameter in model.parameters())


def test_uniform_configs() -> None:
    """Table 1's first row is DeiT-Tiny, 5,717,416 parameters with the classifier; the others by their formula."""
    classifier = 192 * 1000 + 1000
    assert parameters('glit_tiny_uniform-3-0_in1k') == 5_717_416 - classifier
    for num_conv_heads in (1, 2, 3):
        attention, convolution = 64 * (3 - num_conv_heads), 64 * num_conv_heads
        hidden = 4 * convolution
        expand = 2 * hidden * (convolution + 1)
        conv = expand + hidden * (31 + 1) + 2 * hidden + convolution * (hidden + 1)
        mixer = (4 * attention + 4) * attention + conv
        change = 12 * (mixer - (4 * 192 + 4) * 192)
        name = f'glit_tiny_uniform-{3 - num_conv_heads}-{num_conv_heads}_in1k'
        assert parameters(name) == 5_717_416 - classifier + change


def test_conv2d_configs() -> None:
    """A kernel has its square in weights for each hidden channel; the class token and its position are gone."""
    hidden = 4 * (4 * 192 + 3 * 128)  # of the four blocks of convolution alone and the three mixed ones
    base = parameters('glit_tiny_distribution_in1k') - 31 * hidden - 2 * 192
    for size in (3, 5, 7):
        assert parameters(f'glit_tiny_conv2d-{size}_in1k') == base + size**2 * hidden


def test_window_configs() -> None:
    """A window has no weights."""
    assert len({parameters(f'glit_tiny_window-{size}_in1k') for size in (14, 28, 49)}) == 1
