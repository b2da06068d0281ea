"""Regions, and what is exchanged in them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmhybrid.models.mix_token import MixToken, Region, swap_region


@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 3), st.integers(0, 10_000))
def test_regions_lie_within_the_map(height, width, rank, iteration):
    region = MixToken(seed=1).region(height, width, rank, iteration)
    assert 0 <= region.top <= region.bottom <= height
    assert 0 <= region.left <= region.right <= width


def test_region_is_a_function_of_seed_rank_and_iteration():
    mix = MixToken(seed=3)
    assert mix.region(7, 7, 1, 20) == MixToken(seed=3).region(7, 7, 1, 20)
    others = {MixToken(seed=3).region(14, 14, rank, iteration) for rank in range(3) for iteration in range(20)}
    assert len(others) > 20


def test_mean_share_of_uncut_regions_is_that_of_beta():
    """Beta(1, 1) is uniform: half of a map is exchanged on average, less what the edges cut."""
    mix, side = MixToken(), 1000
    shares = [mix.region(side, side, 0, i).area / side**2 for i in range(2000)]
    assert max(shares) > 0.9
    # a window of relative side s around a uniform point keeps s * (1 - s / 4) of each axis: E over s^2 ~ U(0, 1)
    assert sum(shares) / len(shares) == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.02)


def test_swapped_cells_come_from_the_mirrored_batch():
    x = torch.randn(3, 2, 6, 5)
    region = Region(1, 2, 4, 5)
    mixed = swap_region(x, region)
    assert torch.equal(mixed[0, :, 1:4, 2:5], x[2, :, 1:4, 2:5])
    assert torch.equal(mixed[1], x[1])
    outside = torch.ones(6, 5, dtype=torch.bool)
    outside[1:4, 2:5] = False
    assert torch.equal(mixed[..., outside], x[..., outside])
    assert torch.equal(swap_region(mixed, region), x)


def test_scaled_region_covers_the_same_cells():
    coarse = torch.randn(2, 1, 7, 7)
    fine = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    region = Region(2, 0, 5, 3)
    mixed = swap_region(coarse, region).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.equal(swap_region(fine, region.scaled(8)), mixed)


@pytest.mark.parametrize('kwargs', [{'alpha': 0}, {'alpha': float('nan')}, {'seed': -1}, {'seed': 1.5}])
def test_wrong_arguments(kwargs):
    with pytest.raises(ValueError, match=f'mix_token.{next(iter(kwargs))}'):
        MixToken(**kwargs)
