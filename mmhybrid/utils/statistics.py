"""Rank correlation, and how far a figure may be trusted."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
Numbers = NDArray[np.floating[Any]]


def kendall_tau(a: Numbers, b: Numbers) -> float:
    """Kendall's tau-b, the rank correlation: pairs in the same order less pairs in opposite order; 0 without pairs."""
    signs_a, signs_b = (np.sign(x[:, None] - x[None]) for x in (a, b))
    pairs = math.sqrt(np.abs(signs_a).sum() * np.abs(signs_b).sum())
    return float((signs_a * signs_b).sum() / pairs) if pairs else 0.0


def bootstrap_interval(
    statistic: Callable[[NDArray[np.integer[Any]]], float], count: int, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a figure, from samples drawn anew with replacement.

    Args:
        statistic: The figure of a sample, given as row numbers.
        count: Rows.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(count, size=count)) for _ in range(DRAWS)]
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
