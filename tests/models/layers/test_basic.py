"""Small layers and helpers against what torch computes, or by hand."""

import pytest
import torch
from torch import nn

from mmhybrid.models.layers.basic import (
    LayerNorm2d,
    LayerScale,
    at_least_float32,
    depthwise_conv2d,
    fused,
    fused_axes,
    layer_config,
    with_contiguous_grad,
)


def test_a_norm_of_maps_is_a_norm_of_their_pixels() -> None:
    torch.manual_seed(0)
    norm, x = LayerNorm2d(6), torch.randn(2, 6, 4, 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    expected = (x - mean) / (var + 1e-6).sqrt() * norm.weight.view(1, 6, 1, 1) + norm.bias.view(1, 6, 1, 1)
    torch.testing.assert_close(norm(x), expected)


def test_a_scale_is_a_factor_a_channel() -> None:
    scale, x = LayerScale(3, 0.1), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(scale(x), 0.1 * x)
    scale.gamma.data = torch.tensor([1.0, 0.0, -2.0])
    out = scale(x)
    for channel, factor in enumerate((1.0, 0.0, -2.0)):
        torch.testing.assert_close(out[:, channel], factor * x[:, channel])


@pytest.mark.parametrize('kernel_size', [1, 3, 5])
@pytest.mark.parametrize('stride', [1, 2])
def test_a_depth_wise_convolution_mixes_no_channels_and_keeps_the_size(kernel_size: int, stride: int) -> None:
    x = torch.randn(1, 4, 8, 10)
    conv = depthwise_conv2d(4, kernel_size, stride)
    out = conv(x)
    assert out.shape == (1, 4, 8 // stride, 10 // stride)
    x[:, 2] += 1
    changed = (conv(x) != out).flatten(2).any(2)
    assert changed.tolist() == [[False, False, True, False]]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_types_become_float32_and_others_stay(dtype: torch.dtype) -> None:
    x = torch.ones(2, dtype=dtype)
    found = at_least_float32(x)
    assert found.dtype == (torch.float32 if x.element_size() == 2 else dtype)
    assert found is x or x.element_size() == 2


def test_gradients_are_handed_on_contiguous_and_unchanged() -> None:
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    seen = []
    handed = with_contiguous_grad(x * 1)
    (handed_in := x * 1).register_hook(lambda grad: seen.append(grad.is_contiguous()))
    grad = torch.randn(2, 4, 5, 3).permute(0, 3, 1, 2)
    with_contiguous_grad(handed_in).backward(grad)
    assert seen == [True]
    torch.testing.assert_close(x.grad, grad)
    assert torch.equal(handed, x)
    plain = torch.randn(2)
    assert with_contiguous_grad(plain) is plain


def test_a_group_is_noted_and_no_part_of_the_state() -> None:
    layer = nn.Linear(4, 12)
    before = list(layer.state_dict()), list(layer.modules())
    assert fused_axes(layer) == (None, None)
    assert fused(layer, out=(3, 2, 2)) is layer
    assert fused_axes(layer) == ((3, 2, 2), None)
    assert (list(layer.state_dict()), list(layer.modules())) == before


@pytest.mark.parametrize('cfg', [{}, {'eps': 1}, {'type': 3}, 'BN', 5])
def test_a_layer_needs_a_type(cfg: object) -> None:
    with pytest.raises(ValueError, match=r'^act_cfg: got .*, allowed: a dict with a type'):
        layer_config('act_cfg', cfg, 'GELU')


def test_no_config_is_the_default() -> None:
    given = {'type': 'ReLU', 'inplace': True}
    assert layer_config('act_cfg', None, 'GELU') == {'type': 'GELU'}
    assert layer_config('act_cfg', given, 'GELU') == given
    assert layer_config('act_cfg', given, 'GELU') is not given
