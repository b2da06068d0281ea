"""Rank correlation and intervals against other sources."""

import numpy as np
import pytest

from mmhybrid.utils.statistics import bootstrap_interval, kendall_tau


def test_kendall_tau_is_scipys() -> None:
    stats = pytest.importorskip('scipy.stats')
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(6, size=(2, 15)).astype(float)
        assert kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert kendall_tau(np.ones(3), np.arange(3.0)) == 0


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), 400)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.2 * half)
    assert bootstrap_interval(lambda rows: float(values[rows].mean()), 400) == (low, high)
    assert bootstrap_interval(lambda rows: 3.0, 5) == (3, 3)
