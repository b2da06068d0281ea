"""A norm's config is honoured or refused, argument by argument."""

import re

import pytest
import torch

from mmhybrid.models.backbones.glnet import GLNet
from mmhybrid.models.layers.basic import build_norm


def test_ln2d_takes_its_arguments() -> None:
    layer = build_norm({'type': 'LN2d', 'eps': 0.5, 'requires_grad': False}, 4)
    x = torch.randn(2, 4, 3, 3)
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 0.5).sqrt()
    assert torch.allclose(layer(x), expected, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_ln2d_without_arguments_is_the_published_norm() -> None:
    layer = build_norm({'type': 'LN2d'}, 4)
    assert layer.eps == 1e-6
    assert all(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ({'epsilon': 1e-5}, "norm_cfg: surplus epsilon; required: ['type'], optional: ['eps', 'requires_grad']"),
        ({'num_groups': 4}, 'norm_cfg: surplus num_groups'),
        ({'eps': 0}, 'norm_cfg.eps: got 0, allowed: a number > 0'),
        ({'requires_grad': 'no'}, "norm_cfg.requires_grad: got 'no', allowed: True or False"),
    ],
)
def test_ln2d_refuses_what_it_does_not_take(argument: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build_norm({'type': 'LN2d', **argument}, 4)
    with pytest.raises(ValueError, match=re.escape(message)):
        GLNet('stl', out_norm_cfg={'type': 'LN2d', **argument})


def test_norms_of_mmcv_refuse_typos() -> None:
    with pytest.raises(TypeError, match='epsilon'):
        build_norm({'type': 'BN', 'epsilon': 1e-5}, 4)
