"""Operators are counted under the kind that they are."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.breakdown import KINDS, build_named, operator_breakdown, operator_kind
from mmhybrid.models.backbones.autovit import AutoViT
from mmhybrid.space import GLiTSpace
from mmhybrid.torch_api import TORCH

COSTS = Workload(GLiTSpace(embed_dims=24, num_blocks=2, level='attention'), {'type': 'mmhybrid.GLiT'}, 32, 5)


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('aten::conv2d', 'convolution'),
        ('aten::_convolution', 'convolution'),
        ('aten::linear', 'mlp'),
        ('aten::upsample_bilinear2d', 'reshape'),
        ('aten::t', 'reshape'),
        ('aten::_to_copy', 'reshape'),
        ('aten::tanh', 'other'),
        ('aten::topk', 'other'),
        ('aten::tril', 'other'),
        ('aten::relu_', 'other'),
        ('aten::squeeze_', 'reshape'),
        ('aten::cat', 'reshape'),
        ('aten::softmax', 'attention'),
        ('aten::_softmax', 'attention'),
        ('aten::layer_norm', 'norm'),
    ],
)
def test_kind_by_name(name, kind):
    assert operator_kind(name) == kind


class Function(nn.Module):
    """A function of the images."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        """Any shape."""
        return self.function(x)


@pytest.mark.parametrize(
    ('function', 'kind'),
    [
        (lambda x: F.interpolate(x, scale_factor=2, mode='bilinear'), 'reshape'),
        (torch.tanh, 'other'),
        (lambda x: x.topk(2), 'other'),
        (lambda x: torch.cat([x, x]), 'reshape'),
        (lambda x: x.softmax(-1), 'attention'),
        (lambda x: x @ x, 'mlp'),
        (lambda x: F.layer_norm(x, (8,)), 'norm'),
    ],
)
def test_all_time_is_of_one_kind(function, kind):
    times = operator_breakdown(Function(function), torch.rand(1, 2, 8, 8), runs=2)
    assert {name for name, ms in times.items() if ms > 0} == {kind}


def test_kinds_of_a_network():
    times = operator_breakdown(AutoViT('xxs'), torch.rand(1, 3, 64, 64), runs=2)
    assert set(times) == set(KINDS)
    assert all(value > 0 for value in times.values())


def test_linear_layers_within_attention():
    class Attention(nn.Module):
        """A linear layer within attention."""

        def __init__(self):
            super().__init__()
            self.proj = nn.Linear(8, 8)

        def forward(self, x):
            """Any shape."""
            return self.proj(x)

    inside = operator_breakdown(Attention(), torch.rand(2, 8), runs=2)
    outside = operator_breakdown(nn.Linear(8, 8), torch.rand(2, 8), runs=2)
    assert inside['attention'] > 0 == inside['mlp']
    assert outside['mlp'] > 0 == outside['attention']
    assert math.isclose(inside['convolution'], 0)


def test_transformer_layers_of_torch_are_taken_apart():
    """In eval mode they would be one fused operator."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    enabled = TORCH < (2, 4) or torch.backends.mha.get_fastpath_enabled()
    times = operator_breakdown(layer, torch.rand(2, 5, 16), runs=2)
    assert min(times['attention'], times['mlp'], times['norm']) > 0
    assert (TORCH < (2, 4) or torch.backends.mha.get_fastpath_enabled()) == enabled


@pytest.mark.parametrize(
    ('name', 'side'),
    [
        ('largest', 32),
        ('autovit-xxs', 256),
        ('efficientnet-lite1', 240),
        ('glnet-stl', 224),
        ('mobilevit-xxsmall_3rdparty_in1k', 256),
        ('resnet18_8xb32_in1k', 224),
    ],
)
def test_models_by_name(name, side):
    assert build_named(name, COSTS)[1] == (side, side)


def test_models_of_timm():
    timm = pytest.importorskip('timm')
    model, shape = build_named('mobilevit_xxs', COSTS)
    assert shape == timm.get_pretrained_cfg('mobilevit_xxs').input_size[1:]
    assert isinstance(model, nn.Module)


def test_models_without_timm(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert build_named('resnet18_8xb32_in1k', COSTS)[1] == (224, 224)
    with pytest.raises(ValueError, match=r'mobilevit_xxz.*pip install timm'):
        build_named('mobilevit_xxz', COSTS)


def test_building_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    build_named('smallest', COSTS)
    build_named('resnet18_8xb32_in1k', COSTS)
    assert torch.equal(torch.get_rng_state(), state)
