"""What rounds of timed networks say: how long each takes, and how steady the machine is."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value, check_float, check_list

# Networks that every group runs: they tell how fast the machine is at the time.
NUM_TIES = 4
# What a file may say of a run.
LEAST_MS, MOST_MS = 1e-6, 1e7
# Standard deviations of a normal distribution in its median absolute deviation, and of its median in its mean's.
MAD = 1.4826
MEDIAN = 1.2533
# Standard deviations from which a sample is an outlier.
OUTLIER = 3.0


@dataclass(frozen=True)
class Measurement:
    """One whole network.

    Args:
        arch: Its genes.
        ms: Median milliseconds of a batch.
        spread: Standard deviation of that median.
        repeats: Timed runs that were kept.
    """

    arch: Mapping[str, Any]
    ms: float
    spread: float
    repeats: int


@dataclass
class Group:
    """Networks that are in memory together, and the rounds in which they ran.

    Args:
        archs: The networks.
        rounds: Of each round, the milliseconds of each network.
    """

    archs: list[Arch]
    rounds: list[list[float]] = field(default_factory=list)

    def measurements(self) -> list[Measurement]:
        """The networks at the machine's speed of the time."""
        figures = [robust_median(row) for row in divide_out_speed(np.array(self.rounds).T)]
        return [Measurement(dict(arch), *row) for arch, row in zip(self.archs, figures, strict=True)]


@dataclass
class Rounds:
    """All groups of a measuring; every one has the first :data:`NUM_TIES` networks in front."""

    groups: list[Group]

    def __len__(self) -> int:
        return sum(len(group.rounds) for group in self.groups)

    def measurements(self) -> list[Measurement]:
        """Each network once, at the machine's speed in the first group."""
        first, *others = (group.measurements() for group in self.groups)
        ties = first[:NUM_TIES]
        for again in others:
            speed, speed_std = _relative_speed(ties, again[:NUM_TIES])
            first += [
                replace(m, ms=speed * m.ms, spread=speed * math.hypot(m.spread, speed_std * m.ms))
                for m in again[NUM_TIES:]
            ]
        return first

    def durations(self) -> Iterator[float]:
        """Logarithms of how long each round took, relative to the first group's usual one."""
        usual_of_ties = []
        for group in self.groups:
            logs = np.log(group.rounds)
            usual = np.median(logs, axis=0)
            usual_of_ties.append(usual[:NUM_TIES])
            slower = float(np.mean(usual_of_ties[-1] - usual_of_ties[0]))
            yield from (slower + np.median(logs - usual, axis=1)).tolist()

    def to_json(self) -> list[list[list[float]]]:
        """The milliseconds, without the groups that are not begun."""
        return [group.rounds for group in self.groups]

    def restore(self, name: str, raw: object, repeats: int) -> None:
        """Take over what :meth:`to_json` gave; ValueError, ``name`` in front, unless it is of these groups."""
        found = check_list(name, raw)
        if len(found) > len(self.groups):
            raise bad_value(name, f'{len(found)} groups', f'at most {len(self.groups)}')
        for i, (group, rounds) in enumerate(zip(self.groups, found, strict=False)):
            if len(check_list(f'{name}[{i}]', rounds)) > repeats:
                raise bad_value(f'{name}[{i}]', f'{len(rounds)} rounds', f'at most {repeats}')
            for j, milliseconds in enumerate(rounds):
                for ms in check_list(f'{name}[{i}][{j}]', milliseconds, len(group.archs)):
                    check_float(f'{name}[{i}][{j}]', ms, LEAST_MS, MOST_MS)
            group.rounds = rounds


def divide_out_speed(milliseconds: np.ndarray) -> np.ndarray:
    """Times of networks (rows) in rounds (columns), as they were at the machine's usual speed."""
    usual = np.median(milliseconds, axis=1, keepdims=True)
    steadied: np.ndarray = milliseconds / np.median(milliseconds / usual, axis=0, keepdims=True)
    return steadied


def robust_median(samples: np.ndarray) -> tuple[float, float, int]:
    """Median of samples without outliers, the standard deviation of that median, and how many samples were kept."""
    median = float(np.median(samples))
    deviation = MAD * float(np.median(np.abs(samples - median)))
    kept = samples[np.abs(samples - median) <= max(OUTLIER * deviation, 1e-9)]
    spread = MEDIAN * max(deviation, float(kept.std())) / math.sqrt(len(kept))
    return float(np.median(kept)), spread, len(kept)


def _relative_speed(first: Sequence[Measurement], again: Sequence[Measurement]) -> tuple[float, float]:
    """What networks took at first over what they take again, the geometric mean, and its relative deviation."""
    pairs = list(zip(first, again, strict=True))
    stds = [math.hypot(a.spread / a.ms, b.spread / b.ms) for a, b in pairs]
    return statistics.geometric_mean(a.ms / b.ms for a, b in pairs), math.hypot(*stds) / len(stds)


def repeatability(first: Sequence[Measurement], again: Sequence[Measurement]) -> float:
    """Relative standard deviation of a network's latency from one measuring to another, noise included.

    What all networks have in common, the machine's speed, drops out.

    Args:
        first: Measured networks.
        again: At least two of them, measured a second time.
    """
    return statistics.stdev(_slowdowns(first, again)) / math.sqrt(2)  # either measuring has its share


def speed_spread(first: Rounds, again: Rounds) -> float:
    """Relative standard deviation of the machine's speed from round to round, about its mean.

    Args:
        first: Measured networks.
        again: Some of them, measured a second time.
    """
    return statistics.stdev(_durations(first, again))


def speeds_of_rounds(first: Rounds, again: Rounds) -> list[float]:
    """The machine's speed in each round of two measurings, over that in the very first."""
    durations = _durations(first, again)
    return [math.exp(durations[0] - log) for log in durations]


def _durations(first: Rounds, again: Rounds) -> list[float]:
    """See :meth:`Rounds.durations`, of both measurings."""
    slower = statistics.mean(_slowdowns(first.measurements(), again.measurements()))
    return [*first.durations(), *(slower + log for log in again.durations())]


def _slowdowns(first: Sequence[Measurement], again: Sequence[Measurement]) -> list[float]:
    """Logarithms of how much longer networks took the second time."""
    known = {Arch(m.arch): m.ms for m in first}
    return [math.log(m.ms / known[Arch(m.arch)]) for m in again]
