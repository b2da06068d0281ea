"""What several seeds say of an ordering: a paired interval, a verdict, and how many seeds would decide.

Scores are percentages, and all intervals are Student's. An arm is trained with the same seeds as every other one, so
that arms are compared by the differences within seeds.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from _common import require

stats = require('scipy.stats')

CONFIDENCE = 0.95
POWER = 0.8
POINT = 1.0  # the difference that a study is made for, and what "about equal" allows
CERTAIN = 40  # half intervals of which a bound is as far away that no sample reaches it
MOST_SEEDS = 10_000  # beyond which nobody counts
REPRODUCED, NOT_REPRODUCED, UNDECIDED = 'reproduced', 'not reproduced', 'undecided'


@dataclass(frozen=True)
class Ordering:
    """One claim on two arms of a row.

    Args:
        first: The arm that is claimed to score higher.
        second: The other one.
        published: How many points the paper has between them; None where it gives no figures.
        about_equal: Claim instead that they are less than :data:`POINT` apart.
    """

    first: str
    second: str
    published: float | None = None
    about_equal: bool = False

    def __str__(self) -> str:
        return f'{self.first} {"~" if self.about_equal else ">"} {self.second}'


@dataclass(frozen=True)
class Interval:
    """The mean of some values, between which bounds it lies with 95 % confidence, and their standard deviation."""

    mean: float
    low: float
    high: float
    sd: float
    count: int


def interval_of(values: Sequence[float]) -> Interval:
    """Student's interval of the mean of at least two values."""
    mean, sd, count = statistics.fmean(values), statistics.stdev(values), len(values)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / count**0.5
    return Interval(mean, mean - half, mean + half, sd, count)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """How much higher ``first`` is than ``second``, whose values belong together one by one."""
    return interval_of([a - b for a, b in zip(first, second, strict=True)])


def verdict(ordering: Ordering, difference: Interval) -> str:
    """What the interval of first minus second says.

    An ordering is reproduced where all of the interval is on its side of 0, and not reproduced where all of it is on
    the other side. Arms are about equal where all of the interval is less than a point from 0, and are not where all of
    it is a point or more away, on one side.
    """
    low, high = difference.low, difference.high
    if ordering.about_equal:
        holds, fails = max(abs(low), abs(high)) < POINT, low >= POINT or high <= -POINT
    else:
        holds, fails = low > 0, high < 0
    return REPRODUCED if holds else NOT_REPRODUCED if fails else UNDECIDED


def chance(difference: float, sd: float, seeds: int, about_equal: bool = False) -> float:
    """With which probability so many seeds decide for what is true.

    That is, that the interval lies on the side of 0 of a true ``difference``, or within a point of 0 for arms that are
    ``about_equal`` (the power of two one-sided tests, from below).

    Args:
        difference: The true one, in points.
        sd: The true standard deviation of the differences within seeds.
        seeds: At least two.
        about_equal: What is claimed, see :class:`Ordering`.
    """
    if sd == 0:
        return float(abs(difference) < POINT if about_equal else difference != 0)
    limit, error = float(stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1)), sd / seeds**0.5

    def beyond(distance: float) -> float:
        """That an interval around a mean so far above a bound does not reach it."""
        if distance > CERTAIN * limit * error:
            return 1.0  # SciPy has no number for it
        return float(stats.nct.sf(limit, seeds - 1, distance / error)) if distance > 0 else 0.0

    if about_equal:
        return max(beyond(POINT - difference) + beyond(POINT + difference) - 1, 0.0)
    return beyond(abs(difference))


def seeds_needed(difference: float, sd: float, about_equal: bool = False) -> int | None:
    """The least number of seeds that decide with a power of .8; None if :data:`MOST_SEEDS` do not.

    Arguments are those of :func:`chance`.
    """
    low, high = 1, MOST_SEEDS  # too few, enough
    if chance(difference, sd, high, about_equal) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(difference, sd, middle, about_equal) >= POWER else (middle, high)
    return high
