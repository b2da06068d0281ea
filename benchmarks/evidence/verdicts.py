"""What several seeds say of an ordering: a paired interval, a verdict, and how many seeds would decide.

Scores are percentages, and all intervals are Student's. An arm is trained with the same seeds as every other one, so
that arms are compared by the differences within seeds.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from _common import require

from mmhybrid.utils.statistics import kendall_tau

stats = require('scipy.stats')

CONFIDENCE = 0.95
POWER = 0.8
POINT = 1.0  # the difference that a study is made for, and what "about equal" allows
TAU_VARIANCE = 0.437
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

    @property
    def arms(self) -> tuple[str, ...]:
        """What is compared."""
        return (self.first, self.second)

    def finding(self, scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """The paired difference, the verdict, and the seeds that would decide, where that is needed."""
        difference = paired_difference(scores[self.first], scores[self.second])
        said = verdict(self, difference)
        needed = seeds_needed(difference.mean, difference.sd, self.about_equal) if said == UNDECIDED else None
        return {'ordering': str(self), **asdict(difference), 'verdict': said, 'seeds_needed': needed}


@dataclass(frozen=True)
class SameRanks:
    """The claim that networks rank alike in two ways of scoring them.

    Args:
        first: Arms of one way.
        second: Of the other way, the same networks one by one.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]

    def __str__(self) -> str:
        return f'the same ranks of {len(self.first)} networks'

    @property
    def arms(self) -> tuple[str, ...]:
        """What is compared."""
        return (*self.first, *self.second)

    def finding(self, scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """Kendall's tau of the means over the seeds, the verdict, and the networks that would decide.

        Reproduced where all of the interval is above 0, and not reproduced where all of it is below.
        """
        ways = [np.array([statistics.fmean(scores[name]) for name in arms]) for arms in (self.first, self.second)]
        tau, count = kendall_tau(*ways), len(self.first)
        low, high = tau_interval(tau, count)
        said = REPRODUCED if low > 0 else NOT_REPRODUCED if high < 0 else UNDECIDED
        seeds = min(len(scores[name]) for name in self.arms)
        ranges = [[float(way.min()), float(way.max())] for way in ways]
        found = {'ordering': str(self), 'mean': tau, 'low': low, 'high': high, 'count': seeds, 'ranges': ranges}
        needed = networks_needed(tau) if said == UNDECIDED else None
        return {**found, 'verdict': said, 'networks_needed': needed}


def tau_interval(tau: float, count: int) -> tuple[float, float]:
    """The 95 % interval of Kendall's tau of ``count`` pairs, by Fieller, Hartley and Pearson (1957).

    Fisher's transformation of it is nearly normal with a variance of .437 / (count - 4), from ten pairs on. A tau of 1
    or -1, of which it is infinite, counts as half a pair of networks short of that. Of twelve networks with normal
    scores, it holds a tau of 0 or .3 in 95 of 100 samples, and one of .6 in 92.
    """
    most = 1 - 1 / (count * (count - 1) / 2)
    z = math.atanh(min(max(tau, -most), most))
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * (TAU_VARIANCE / (count - 4)) ** 0.5
    return math.tanh(z - half), math.tanh(z + half)


def networks_needed(tau: float) -> int | None:
    """The least number that tells such a tau from 0 with a power of .8; None if :data:`MOST_SEEDS` do not."""
    if tau == 0:
        return None
    distance = sum(map(float, stats.norm.ppf([(1 + CONFIDENCE) / 2, POWER])))
    needed = math.ceil(4 + TAU_VARIANCE * (distance / math.atanh(tau)) ** 2)
    return needed if needed <= MOST_SEEDS else None


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
