"""The simple feature pyramid: shapes, gradients, mistakes."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import GradientProbe, assert_contiguous
from torch import Tensor

from mmhybrid.models.necks import SimpleFeaturePyramid
from mmhybrid.registry import MODELS


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    levels=st.sampled_from([(0, 4), (0, 5), (1, 3), (1, 4), (1, 5)]),
    in_channels=st.sampled_from([4, 8, 12]),
)
def test_shapes(height: int, width: int, levels: tuple[int, int], in_channels: int) -> None:
    """1/4, 1/2, 1, 2, 4 and 8 times the stride of the input, as asked; sizes that do not divide are rounded up."""
    start_level, num_outs = levels
    neck = SimpleFeaturePyramid(in_channels, 6, num_outs, start_level=start_level)
    outs = neck((torch.randn(2, in_channels, height, width),))
    strides = [1 / 4, 1 / 2, 1, 2, 4, 8][start_level:][:num_outs]
    expected = [(2, 6, math.ceil(height / s), math.ceil(width / s)) for s in strides]
    assert isinstance(outs, tuple)
    assert [tuple(out.shape) for out in outs] == expected


@pytest.mark.parametrize('norm_cfg', [None, {'type': 'BN'}, {'type': 'GN', 'num_groups': 2}], ids=str)
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last], ids=str)
def test_maps_are_contiguous(norm_cfg: dict[str, Any] | None, memory_format: torch.memory_format) -> None:
    for start_level, num_outs in ((0, 4), (0, 5), (1, 4), (1, 5)):
        neck = SimpleFeaturePyramid(8, 6, num_outs, norm_cfg, start_level)
        for size in ((4, 4), (5, 7), (1, 3)):
            x = torch.randn(2, 8, *size).to(memory_format=memory_format)
            assert_contiguous(neck((x,)))
            assert_contiguous(neck.to(memory_format=memory_format)((x,)))


@pytest.mark.parametrize('norm_cfg', [None, {'type': 'BN'}, {'type': 'GN', 'num_groups': 2}], ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_gradients_are_contiguous(norm_cfg: dict[str, Any] | None, dtype: torch.dtype) -> None:
    neck = SimpleFeaturePyramid(8, 6, norm_cfg=norm_cfg)
    handed: list[Tensor] = []
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype is torch.bfloat16):
        outs = neck((GradientProbe.apply(torch.randn(2, 8, 6, 4, requires_grad=True), handed),))
    assert_contiguous(outs)
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    assert_contiguous(handed)
    assert_contiguous([parameter.grad for parameter in neck.parameters()])


def test_only_the_last_map_counts() -> None:
    neck = SimpleFeaturePyramid(8, 6)
    last = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(neck((torch.randn(1, 3, 9, 9), last)), neck([last]))


def test_the_fifth_map_is_every_second_pixel_of_the_fourth() -> None:
    outs = SimpleFeaturePyramid(8, 6, num_outs=5)((torch.randn(1, 8, 10, 6),))
    torch.testing.assert_close(outs[4], outs[3][:, :, ::2, ::2])


def test_start_level_leaves_out_the_finest_map() -> None:
    whole = SimpleFeaturePyramid(8, 6, num_outs=4)
    coarser = SimpleFeaturePyramid(8, 6, num_outs=3, start_level=1)
    for parts, wholes in ((coarser.scales, whole.scales), (coarser.outputs, whole.outputs)):
        parts.load_state_dict(wholes[1:].state_dict())
    inputs = (torch.randn(1, 8, 4, 4),)
    torch.testing.assert_close(coarser(inputs), whole(inputs)[1:])


@pytest.mark.parametrize('norm_cfg', [None, {'type': 'BN'}, {'type': 'GN', 'num_groups': 2}], ids=str)
def test_gradients(norm_cfg: dict[str, Any] | None) -> None:
    """Each map leads back to the input and to its own weights; together they reach every weight."""
    neck = SimpleFeaturePyramid(8, 6, norm_cfg=norm_cfg)
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    reached = set()
    for level, out in enumerate(neck((x,))[:4]):
        grads = gradients(neck, out, x)
        own = (f'scales.{level}.', f'outputs.{level}.')
        assert grads.pop('input')
        assert grads == {name: name.startswith(own) for name in grads}
        reached |= {name for name, has in grads.items() if has}
    assert reached == {name for name, _ in neck.named_parameters()}


def gradients(neck: SimpleFeaturePyramid, out: Tensor, x: Tensor) -> dict[str, bool]:
    """Whether the input and each parameter get one, be it 0 as that of a bias in front of a batch norm."""
    named = {'input': x, **dict(neck.named_parameters())}
    loss = (out * torch.randn_like(out)).sum()
    grads = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    assert all(grad is None or grad.isfinite().all() for grad in grads)
    return {name: grad is not None for name, grad in zip(named, grads, strict=True)}


@pytest.mark.parametrize('num_outs', [3, 6, 4.0, '5', None, True], ids=str)
def test_number_of_maps(num_outs: Any) -> None:
    with pytest.raises(ValueError, match=r'num_outs: got .*, allowed: an int from 4 to 5'):
        SimpleFeaturePyramid(8, num_outs=num_outs)


def test_maps_behind_the_start_level() -> None:
    for start_level in (-1, 2, 1.0, None):
        with pytest.raises(ValueError, match=r'start_level: got .*, allowed: an int from 0 to 1'):
            SimpleFeaturePyramid(8, start_level=start_level)
    with pytest.raises(ValueError, match='num_outs: got 2, allowed: an int from 3 to 5'):
        SimpleFeaturePyramid(8, num_outs=2, start_level=1)


def test_norms_need_a_type() -> None:
    with pytest.raises(ValueError, match=r'norm_cfg: got .*, allowed: a dict with a type'):
        SimpleFeaturePyramid(8, norm_cfg={'eps': 1.0})


def test_registered() -> None:
    assert isinstance(MODELS.build({'type': 'mmhybrid.SimpleFeaturePyramid', 'in_channels': 8}), SimpleFeaturePyramid)
