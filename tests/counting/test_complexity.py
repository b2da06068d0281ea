"""Counts against closed forms, an independent brute count, and the papers' tables."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from presets_table import count_presets
from torch import nn
from torch.nn import functional as F

from mmhybrid.counting.complexity import Complexity, count_complexity
from mmhybrid.models.backbones.glit import ConvHeads
from mmhybrid.models.backbones.glnet import GLNet
from mmhybrid.models.build import on_meta
from mmhybrid.models.families import FAMILIES
from mmhybrid.models.layers.attention import SelfAttention
from mmhybrid.models.presets import PUBLISHED, Preset, build_classifier
from mmhybrid.torch_api import TORCH

SIZES = st.integers(1, 9)


class OnTokens(nn.Module):
    """A layer over tokens, fed with a map."""

    def __init__(self, layer, contiguous=True):
        super().__init__()
        self.layer = layer
        self.contiguous = contiguous

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return self.layer(tokens.contiguous() if self.contiguous else tokens)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([1, 3]),
    st.integers(1, 3),
    SIZES,
    SIZES,
    st.booleans(),
)
def test_convolution(groups, in_factor, out_factor, kernel, stride, height, width, transposed):
    channels_in, channels_out = groups * in_factor, groups * out_factor
    conv = (nn.ConvTranspose2d if transposed else nn.Conv2d)(
        channels_in, channels_out, kernel, stride, padding=kernel // 2, groups=groups
    )
    out = conv(torch.zeros(1, channels_in, height, width))
    # each position of the smaller side meets each weight of its channel's group
    positions = height * width if transposed else out[0, 0].numel()
    macs = positions * kernel**2 * channels_in * channels_out // groups
    cost = count_complexity(conv, (channels_in, height, width))
    assert (cost.params, cost.macs) == (sum(p.numel() for p in conv.parameters()), macs)
    assert (cost.macs_attention, cost.macs_attention_layers) == (0, 0)
    assert cost.activations == out.numel()


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('contiguous', [True, False])
def test_linear_is_no_attention_whatever_kernel_it_takes(bias, contiguous):
    cost = count_complexity(OnTokens(nn.Linear(6, 10, bias), contiguous), (6, 4, 5))
    assert (cost.macs, cost.macs_attention, cost.activations) == (20 * 60, 0, 20 * 10)


def attention_macs(tokens, width, inner, heads):
    """Projections, and scores and values of all heads: (linear, attention, activations)."""
    return 4 * tokens * width * inner, 2 * tokens**2 * inner, tokens * (3 * inner + inner + width) + heads * tokens**2


@pytest.mark.parametrize(
    'layer',
    [SelfAttention(24, 3, 8), nn.TransformerEncoderLayer(24, 3, 24, batch_first=True)],
    ids=['ours', 'torch, which has a fused kernel'],
)
def test_attention(layer):
    cost = count_complexity(OnTokens(layer), (24, 5, 6))
    linear, attention, activations = attention_macs(30, 24, 24, 3)
    assert cost.macs_attention_layers == linear + attention
    if isinstance(layer, nn.TransformerEncoderLayer):
        linear, activations = linear + 2 * 30 * 24 * 24, activations + 2 * 30 * 24
    assert (cost.macs - cost.macs_attention, cost.macs_attention, cost.activations) == (linear, attention, activations)


@pytest.mark.parametrize('learned_slots', [False, True])
def test_glnet_block_by_hand(learned_slots):
    arch = {
        'embed_dims': [32, 64, 96, 128],
        'depths': [1, 1, 1, 1],
        'ffn_ratios': [3, 3, 3, 3],
        'mixers': ['glmix'] * 3 + ['mhsa'],
        'learned_slots': learned_slots,
        'conv_ffn': True,
        'pos_encoding': True,
    }
    stages = count_complexity(GLNet(arch), (3, 64, 96)).parts
    for i, c in enumerate(arch['embed_dims']):
        pixels = 64 * 96 // (4 * 2**i) ** 2
        pos_conv, ffn = pixels * 9 * c, pixels * (2 * 3 * c * c + 9 * 3 * c)
        projections, attention = attention_macs(64 if i < 3 else pixels, c, c, c // 32)[:2]
        local = 0
        if i < 3:
            local = pixels * (2 * c * c + 25 * c)
            attention += 3 * 64 * pixels * c  # logits, clustering, dispatching
        cost = stages[f'stages.{i}']
        assert cost.macs_attention == attention
        assert cost.macs_attention_layers == attention + projections
        assert cost.macs == attention + projections + local + pos_conv + ffn


def without_values(preset):
    with on_meta():
        return build_classifier(preset)


class BruteCount(torch.overrides.TorchFunctionMode):
    """Counts at the level of the Python interface, on real tensors: an independent way to the same numbers."""

    def __init__(self):
        super().__init__()
        self.macs = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (torch.conv1d, torch.conv2d, F.conv1d, F.conv2d):
            self.macs += out.numel() * args[1][0].numel()
        elif func is F.linear:
            self.macs += out.numel() * args[1].shape[1]
        elif func in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__):
            self.macs += out.numel() * args[0].shape[-1]
        elif func is F.scaled_dot_product_attention:
            query, key = args[:2]
            self.macs += 2 * query.numel() * key.shape[-2]
        return out


@pytest.mark.parametrize(
    'name',
    [('GLNet', 'stl'), ('GLNet', '4g'), ('GLiT', 'tiny'), ('AutoViT', 'xxs'), ('EfficientNetLite', 'lite0')],
    ids='-'.join,
)
def test_equals_a_brute_count(name):
    backbone = build_classifier(Preset(*name, 64, 0, 0, 0)).backbone
    with torch.no_grad(), BruteCount() as brute:
        backbone(torch.zeros(1, 3, 64, 96))
    assert count_complexity(backbone, (3, 64, 96)).macs == brute.macs


EXACT = {  # parameters with the classifier, GMACs; by hand or by the released code
    ('GLNet', 'stl'): (30_296_786, 4.347),
    ('GLNet', 'stl-paramslot'): (30_481_106, 4.347),
    ('GLNet', '4g'): (27_001_593, 4.482),
    ('GLNet', '9g'): (60_010_617, 9.588),
    ('GLNet', '16g'): (106_055_161, 16.604),
    ('GLiT', 'tiny'): (7_264_456, 1.473),
    ('AutoViT', 'xxs'): (1_725_600, 0.3094),
    ('AutoViT', 'xs'): (2_640_824, 0.5528),
    ('AutoViT', 's'): (6_173_592, 1.2173),
    ('EfficientNetLite', 'lite0'): (4_652_008, 0.3852),
    ('EfficientNetLite', 'lite1'): (5_416_680, 0.6002),
    ('EfficientNetLite', 'lite2'): (6_092_072, 0.8597),
    ('EfficientNetLite', 'lite3'): (8_197_096, 1.3833),
    ('EfficientNetLite', 'lite4'): (13_006_568, 2.5530),
}


@pytest.fixture(scope='module')
def preset_costs():
    return {(preset.family, preset.arch): cost for preset, cost in count_presets()}


@pytest.mark.parametrize('name', EXACT, ids='-'.join)
def test_presets_are_the_networks_of_the_papers(name, preset_costs):
    params, gmacs = EXACT[name]
    assert preset_costs[name].params == params
    assert preset_costs[name].macs / 1e9 == pytest.approx(gmacs, rel=0.01)


def test_what_is_published_is_stated_of_each_preset():
    stated = [(preset.family, preset.arch) for preset in PUBLISHED]
    assert sorted(stated) == sorted((name, key) for name, family in FAMILIES.items() for key in family.arch.presets)


@pytest.mark.parametrize('preset', PUBLISHED, ids=lambda preset: f'{preset.family}-{preset.arch}')
def test_published_parameters(preset, preset_costs):
    tolerance = 0.06 if preset.family == 'AutoViT' else 0.03
    assert preset_costs[preset.family, preset.arch].params / 1e6 == pytest.approx(preset.params_m, rel=tolerance)


@pytest.mark.parametrize('arch', ['small', 'base'])
def test_glit_meets_the_published_flops_by_the_released_formula(arch, preset_costs):
    preset = next(preset for preset in PUBLISHED if (preset.family, preset.arch) == ('GLiT', arch))
    tokens = (preset.image_size // 16) ** 2 + 1
    heads = [module for module in without_values(preset).modules() if isinstance(module, ConvHeads)]
    counted_once = sum(head.expand.weight.numel() // 2 for head in heads) * tokens
    assert (preset_costs['GLiT', arch].macs - counted_once) / 1e9 == pytest.approx(preset.gmacs, rel=0.03)


def test_parts_add_up_and_are_named_as_the_modules():
    model = without_values(Preset('GLNet', 'stl', 64, 0, 0, 0))
    cost = count_complexity(model, (3, 64, 64))
    assert sum(cost.parts.values(), Complexity()) == replace(cost, parts={})
    stages = [f'backbone.{kind}.{i}' for kind in ('downsamplers', 'stages') for i in range(4)]
    assert list(cost.parts) == [*stages, 'backbone.norm', 'head']
    for name in (*stages, 'backbone.norm', 'head'):
        assert cost.parts[name].params == sum(p.numel() for p in model.get_submodule(name).parameters())
    assert cost.parts['head'].macs == 768 * 1000


def test_parameters_outside_any_part_are_not_lost():
    model = without_values(Preset('GLiT', 'tiny', 224, 0, 0, 0))
    cost = count_complexity(model, (3, 224, 224))
    assert cost.parts['backbone'].params == 192 + 197 * 192  # class token, position embedding


def test_shared_parameters_count_once_and_their_products_twice():
    layer = nn.Conv2d(4, 4, 1, bias=False)
    cost = count_complexity(nn.Sequential(layer, layer), (4, 3, 3))
    assert (cost.params, cost.macs) == (16, 2 * 9 * 16)


def test_the_model_is_left_as_it_was():
    model = GLNet('stl', norm_eval=True).train()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    count_complexity(model, (3, 64, 64))
    assert [module.training for module in model.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert TORCH < (2, 4) or torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize('shape', [(3, 64), (3, 0, 64), (3, 64.0, 64), 'abc', (5, 64, 64)])
def test_a_wrong_shape_is_one_sentence(shape):
    with pytest.raises(ValueError, match='input_shape'):
        count_complexity(GLNet('stl'), shape)
