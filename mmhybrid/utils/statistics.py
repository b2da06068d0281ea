"""Rank correlation, and confidence intervals by bootstrap."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
Numbers = NDArray[np.floating[Any]]


def kendall_tau(a: Numbers, b: Numbers) -> float:
    """Return Kendall's tau-b, the rank correlation; 0 if all pairs are tied in one of the rankings.

    It is the ratio of concordant minus discordant pairs to the geometric mean of the pairs untied in each ranking.
    """
    signs_a, signs_b = (np.sign(x[:, None] - x[None]) for x in (a, b))
    pairs = math.sqrt(np.abs(signs_a).sum() * np.abs(signs_b).sum())
    return float((signs_a * signs_b).sum() / pairs) if pairs else 0.0


def bootstrap_interval(
    statistic: Callable[[NDArray[np.integer[Any]]], float], count: int, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a statistic, from 1000 samples with replacement.

    Args:
        statistic: Function from the row numbers of a sample to the statistic.
        count: Number of rows.
        seed: Seed of the samples.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(count, size=count)) for _ in range(DRAWS)]
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
