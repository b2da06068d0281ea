"""Heat maps are the means of the last features."""

import numpy as np
import pytest
import torch
from torch import nn

from mmhybrid.models.backbones.autovit import AutoViT
from mmhybrid.models.backbones.glit import GLiT
from mmhybrid.models.backbones.glnet import GLNet
from mmhybrid.registry import MODELS
from mmhybrid.visualization.bitmap import Bitmap
from mmhybrid.visualization.features import draw_features, feature_map
from mmhybrid.visualization.host import Photograph
from mmhybrid.visualization.picture import Text

GLIT = {
    'embed_dims': 12,
    'num_heads': 3,
    'blocks': [
        {'num_attn_heads': 1, 'qkv_ratio': 1, 'conv_ratio': 1, 'kernel_size': 3, 'mlp_ratio': 1},
        {'num_attn_heads': 3, 'qkv_ratio': 1, 'mlp_ratio': 1},
    ],
}
GLIT_ON_MAP = {**GLIT, 'locality': 'conv2d'}
GLNET = {
    'embed_dims': [32] * 4,
    'depths': [1] * 4,
    'ffn_ratios': [1] * 4,
    'mixers': ['glmix', 'glmix', 'glmix', 'mhsa'],
}
DENSE = {'out_norm_cfg': {'type': 'LN2d'}}


@pytest.fixture
def inputs():
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def with_outputs(module, network, inputs):
    """The last feature map of ``network``, and what ``module`` gave on the way."""
    seen = []
    network.eval()
    handle = module.register_forward_hook(lambda module, args, output: seen.append(output))
    values = feature_map(network, inputs)
    handle.remove()
    return values, seen[-1]


@pytest.mark.parametrize(
    ('arch', 'arguments'),
    [(GLIT, {'out_type': out_type}) for out_type in ('cls_token', 'raw', 'featmap', 'avg_featmap')]
    + [(GLIT, {'out_type': 'featmap', 'out_indices': (0, 1), **DENSE}), (GLIT_ON_MAP, {'out_type': 'avg_featmap'})],
)
def test_glit_shows_the_tokens_of_the_patches(arch, arguments, inputs):
    network = GLiT(arch, img_size=64, **arguments)
    values, tokens = with_outputs(network.blocks[-1], network, inputs)
    patches = tokens.flatten(1, -2)[0, -24:]
    torch.testing.assert_close(torch.from_numpy(values), patches.mean(1).reshape(4, 6), rtol=0, atol=1e-6)
    assert network.out_type == arguments['out_type']


@pytest.mark.parametrize('arguments', [{}, {'out_indices': (1, 3), **DENSE}])
def test_glnet_shows_the_last_stage(arguments, inputs):
    network = GLNet(GLNET, **arguments)
    values, features = with_outputs(network.stages[-1][-1], network, inputs)
    torch.testing.assert_close(torch.from_numpy(values), features[0].mean(0), rtol=0, atol=1e-6)
    assert values.shape == (2, 3)


def test_autovit_shows_what_the_head_sees(inputs):
    network = AutoViT('xxs').eval()
    expected = network(inputs)[-1][0].mean(0).detach()
    torch.testing.assert_close(torch.from_numpy(feature_map(network, inputs)), expected, rtol=0, atol=0)


def of_mmpretrain(name, **arguments):
    """A backbone whose norms have random weights and biases, so that each changes what goes through."""
    torch.manual_seed(0)
    network = MODELS.build({'type': f'mmpretrain.{name}', **arguments})
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return network


@pytest.mark.parametrize('out_type', ['cls_token', 'avg_featmap', 'featmap'])
def test_deit_shows_the_tokens_in_front_of_its_norm(out_type, inputs):
    network = of_mmpretrain('VisionTransformer', arch='deit-t', img_size=64, out_type=out_type)
    values, tokens = with_outputs(network.layers[-1], network, inputs[..., :64])
    torch.testing.assert_close(torch.from_numpy(values), tokens[0, 1:].mean(1).reshape(4, 4), rtol=0, atol=1e-6)
    assert values.std() > 1e-4  # far from rounding
    assert network.out_type == out_type


@pytest.mark.parametrize('arguments', [{}, {'out_indices': (0, 3)}])
def test_swin_shows_the_last_stage_in_front_of_its_norm(arguments, inputs):
    network = of_mmpretrain('SwinTransformer', arch='tiny', img_size=64, pad_small_map=True, **arguments)
    values, (tokens, shape) = with_outputs(network.stages[-1], network, inputs)
    torch.testing.assert_close(torch.from_numpy(values), tokens[0].mean(1).reshape(shape), rtol=0, atol=1e-6)
    assert values.std() > 1e-4  # far from rounding


def test_convnext_shows_the_last_stage_in_front_of_its_norm(inputs):
    network = of_mmpretrain('ConvNeXt', arch='atto', gap_before_final_norm=False)
    values, features = with_outputs(network.stages[-1], network, inputs)
    torch.testing.assert_close(torch.from_numpy(values), features[0].mean(0), rtol=0, atol=1e-6)


def test_a_norm_within_the_last_block_stays(inputs):
    class PostNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 1), nn.LayerNorm(8)

        def forward(self, x):
            x = self.conv(x)
            return (x + self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),)

    network = PostNorm()
    expected = network(inputs)[-1][0].mean(0).detach()
    torch.testing.assert_close(torch.from_numpy(feature_map(network, inputs)), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    'network',
    [
        GLiT(GLIT, img_size=64),
        GLNet(GLNET),
        of_mmpretrain('SwinTransformer', arch='tiny', img_size=64, pad_small_map=True),
    ],
    ids=['GLiT', 'GLNet', 'Swin'],
)
def test_looking_leaves_the_network_as_it_was(network, inputs):
    network.eval()
    before = network(inputs)[0]
    feature_map(network, inputs)
    assert not any(module._forward_hooks for module in network.modules())
    torch.testing.assert_close(network(inputs)[0], before, rtol=0, atol=0)


def test_a_backbone_without_maps(inputs):
    class Vectors(nn.Module):
        def forward(self, x):
            return (x.flatten(1),)

    with pytest.raises(ValueError, match=r'Vectors\) is not a map'):
        feature_map(Vectors(), inputs)


def test_each_photograph_has_its_heat_map_below():
    sizes = [(40, 60), (60, 40), (50, 50)]
    photographs = [
        Photograph(f'scene {i}', np.full((*size, 3), 90, np.uint8), torch.zeros(1)) for i, size in enumerate(sizes)
    ]
    maps = [np.array([[0.0, 1.0], [2.0, 3.0]])] * 3
    picture = draw_features(photographs, maps, 'a title')
    bitmaps = [shape for shape in picture.shapes if isinstance(shape, Bitmap)]
    assert len(bitmaps) == 3 * 3
    for (height, width), photograph, heat in zip(sizes, bitmaps[::3], bitmaps[1::3], strict=True):
        assert (photograph.x, photograph.width, photograph.height) == (heat.x, heat.width, heat.height)
        assert heat.y > photograph.y + photograph.height
        assert heat.width / heat.height == pytest.approx(width / height)
        red, _, blue = heat.pixels[-1, -1].astype(int)
        assert red > blue  # the greatest
        assert heat.pixels.shape == (height, width, 3)
    assert all(shape.x + shape.width <= picture.width for shape in bitmaps)
    assert sum(isinstance(shape, Text) and shape.text in ('0', '3') for shape in picture.shapes) == 6
    assert picture.png_file() == draw_features(photographs, maps, 'a title').png_file()


def test_many_photographs_make_rows_of_named_ones():
    photographs = [Photograph(f'scene {i}', np.zeros((50, 80, 3), np.uint8), torch.zeros(1)) for i in range(30)]
    picture = draw_features(photographs, [np.eye(2)] * 30, 'a title')
    bitmaps = [shape for shape in picture.shapes if isinstance(shape, Bitmap)][::3]
    names = {shape.text: shape for shape in picture.shapes if isinstance(shape, Text)}
    assert picture.width < 1100
    assert len({bitmap.y for bitmap in bitmaps}) == 15
    for i, bitmap in enumerate(bitmaps):
        name = names[f'scene {i}']
        assert (name.x, name.y < bitmap.y, name.y > bitmap.y - 20) == (bitmap.x, True, True)
    bottoms = [shape.y + shape.height for shape in picture.shapes if isinstance(shape, Bitmap)]
    assert max(bottoms) < picture.height


def test_a_single_narrow_photograph_leaves_room_for_the_title():
    photograph = Photograph('a', np.zeros((100, 10, 3), np.uint8), torch.zeros(1))
    picture = draw_features([photograph], [np.zeros((2, 2))], 'a long title ' * 5)
    assert all(shape.x + shape.length <= picture.width for shape in picture.shapes if isinstance(shape, Text))
