"""Statistics of an ordering over several seeds: a paired interval, a verdict, and how many seeds would decide.

Scores are percentages, and intervals of means are Student's. All arms are trained with the same seeds, so they are
compared by the differences within seeds.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from _common import require

import numpy as np

from mmhybrid.utils.statistics import kendall_tau

stats = require('scipy.stats')

CONFIDENCE = 0.95
POWER = 0.8
POINT = 1.0  # the difference that a study is planned to detect, and the bound of "about equal"
TAU_VARIANCE = 0.437
CERTAIN = 40  # half widths of an interval; at this distance from a bound no sample reaches it
MOST_SEEDS = 10_000  # larger numbers of seeds or networks are not told
REPRODUCED, NOT_REPRODUCED, UNDECIDED, NO_CLAIM = 'reproduced', 'not reproduced', 'undecided', 'no claim'


@dataclass(frozen=True)
class Ordering:
    """The claim that one arm of a row scores higher than another.

    Args:
        first: Arm that is claimed to score higher.
        second: The other arm.
        published: Published difference in points; None if the paper has no figures.
        about_equal: Whether the claim is instead that they differ by less than :data:`POINT`.
    """

    first: str
    second: str
    published: float | None = None
    about_equal: bool = False

    def __str__(self) -> str:
        return f'{self.first} {"~" if self.about_equal else ">"} {self.second}'

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are compared."""
        return (self.first, self.second)

    def finding(self, scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """The paired difference, the verdict, and if undecided the number of seeds that would decide."""
        difference = paired_difference(scores[self.first], scores[self.second])
        said = verdict(self, difference)
        needed = seeds_needed(difference.mean, difference.sd, self.about_equal) if said == UNDECIDED else None
        return {'ordering': str(self), **asdict(difference), 'verdict': said, 'seeds_needed': needed}


@dataclass(frozen=True)
class SameRanks:
    """The claim that two ways of scoring rank networks alike.

    Args:
        first: Arms of the one way, an arm for each network.
        second: Arms of the other way, for the same networks in the same order.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]

    def __str__(self) -> str:
        return f'the same ranks of {len(self.first)} networks'

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are compared."""
        return (*self.first, *self.second)

    def finding(self, scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """Kendall's tau of the means over the seeds, the verdict, and if undecided how many networks would decide.

        The claim is reproduced if the whole interval is above 0, and not reproduced if it is below.
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


@dataclass(frozen=True)
class Bystander:
    """An arm of which nothing is claimed. It shows what a network of another size or other weights scores.

    Args:
        arm: The arm.
    """

    arm: str

    def __str__(self) -> str:
        return f'{self.arm}, beside'

    @property
    def arms(self) -> tuple[str, ...]:
        """The one arm."""
        return (self.arm,)

    def finding(self, scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """The mean and its interval, without a verdict."""
        return {'ordering': str(self), **asdict(interval_of(scores[self.arm])), 'verdict': NO_CLAIM}


Claim = Ordering | SameRanks | Bystander


def tau_interval(tau: float, count: int) -> tuple[float, float]:
    """The 95 % interval of Kendall's tau of ``count`` networks, by Fieller, Hartley and Pearson (1957).

    From ten networks on, Fisher's transformation of tau is nearly normal with a variance of .437 / (count - 4). It is
    infinite for a tau of 1 or -1, which counts as half a pair of networks short of that. For twelve networks with
    normal scores, the interval covers a tau of 0 or .3 in 95 of 100 samples, and one of .6 in 92.
    """
    most = 1 - 1 / (count * (count - 1) / 2)
    z = math.atanh(min(max(tau, -most), most))
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * (TAU_VARIANCE / (count - 4)) ** 0.5
    return math.tanh(z - half), math.tanh(z + half)


def networks_needed(tau: float) -> int | None:
    """The least number of networks that tells ``tau`` from 0 with a power of .8; None if :data:`MOST_SEEDS` do not."""
    if tau == 0:
        return None
    distance = sum(map(float, stats.norm.ppf([(1 + CONFIDENCE) / 2, POWER])))
    needed = math.ceil(4 + TAU_VARIANCE * (distance / math.atanh(tau)) ** 2)
    return needed if needed <= MOST_SEEDS else None


@dataclass(frozen=True)
class Interval:
    """The mean of ``count`` values, its 95 % interval (``low`` to ``high``), and their standard deviation ``sd``."""

    mean: float
    low: float
    high: float
    sd: float
    count: int


def interval_of(values: Sequence[float]) -> Interval:
    """Student's 95 % interval of the mean of at least two values."""
    mean, sd, count = statistics.fmean(values), statistics.stdev(values), len(values)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / count**0.5
    return Interval(mean, mean - half, mean + half, sd, count)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The interval of ``first`` minus ``second``, whose values are paired."""
    return interval_of([a - b for a, b in zip(first, second, strict=True)])


def verdict(ordering: Ordering, difference: Interval) -> str:
    """The verdict on an ordering by the interval of first minus second.

    An ordering is reproduced if the whole interval is above 0, and not reproduced if it is below. Arms are about equal
    if the whole interval is less than a point from 0, and are not if the whole interval is a point or more away, on one
    side.
    """
    low, high = difference.low, difference.high
    if ordering.about_equal:
        holds, fails = max(abs(low), abs(high)) < POINT, low >= POINT or high <= -POINT
    else:
        holds, fails = low > 0, high < 0
    return REPRODUCED if holds else NOT_REPRODUCED if fails else UNDECIDED


def chance(difference: float, sd: float, seeds: int, about_equal: bool = False) -> float:
    """The probability (power) that a study with ``seeds`` seeds decides for what is true.

    This is the probability that the interval lies on the same side of 0 as the true ``difference``, or within a point
    of 0 for arms that are ``about_equal`` (a lower bound of the power of two one-sided tests).

    Args:
        difference: True difference in points.
        sd: True standard deviation of the differences within seeds.
        seeds: Number of seeds, at least two.
        about_equal: Whether equality is claimed, see :class:`Ordering`.
    """
    if sd == 0:
        return float(abs(difference) < POINT if about_equal else difference != 0)
    limit, error = float(stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1)), sd / seeds**0.5

    def beyond(distance: float) -> float:
        """The probability that the interval around a mean ``distance`` above a bound does not reach the bound."""
        if distance > CERTAIN * limit * error:
            return 1.0  # SciPy gives no number so far out
        return float(stats.nct.sf(limit, seeds - 1, distance / error)) if distance > 0 else 0.0

    if about_equal:
        return max(beyond(POINT - difference) + beyond(POINT + difference) - 1, 0.0)
    return beyond(abs(difference))


def seeds_needed(difference: float, sd: float, about_equal: bool = False) -> int | None:
    """The least number of seeds that decides with a power of .8; None if :data:`MOST_SEEDS` do not.

    The arguments are those of :func:`chance`.
    """
    low, high = 1, MOST_SEEDS  # too few, enough
    if chance(difference, sd, high, about_equal) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(difference, sd, middle, about_equal) >= POWER else (middle, high)
    return high
