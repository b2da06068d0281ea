"""Rounds of timed networks: the latency of each network, and the steadiness of the machine's speed."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value, check_float, check_list

# Number of networks that every group runs. They show the machine's speed at that time.
NUM_TIES = 4
# Smallest and largest time of a run that a file may hold.
LEAST_MS, MOST_MS = 1e-6, 1e7
# Ratios for a normal distribution: standard deviation to median absolute deviation, and the median's standard error to
# the mean's.
MAD = 1.4826
MEDIAN = 1.2533
# Number of standard deviations from the median beyond which a sample is an outlier.
OUTLIER = 3.0


@dataclass(frozen=True)
class Measurement:
    """The measured latency of one whole network.

    Args:
        arch: Genes of the network.
        ms: Median latency of a batch in milliseconds.
        spread: Standard deviation of that median.
        repeats: Number of timed runs, not counting outliers.
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
        rounds: For each round, the milliseconds of each network.
    """

    archs: list[Arch]
    rounds: list[list[float]] = field(default_factory=list)

    def measurements(self) -> list[Measurement]:
        """Return the networks' latencies at the machine's speed at that time."""
        figures = [robust_median(row) for row in divide_out_speed(np.array(self.rounds).T)]
        return [Measurement(dict(arch), *row) for arch, row in zip(self.archs, figures, strict=True)]


@dataclass
class Rounds:
    """All groups of a pass; each group begins with the same :data:`NUM_TIES` networks."""

    groups: list[Group]

    def __len__(self) -> int:
        return sum(len(group.rounds) for group in self.groups)

    def measurements(self) -> list[Measurement]:
        """Return each network once, at the machine's speed in the first group."""
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
        """Yield the logarithm of each round's duration, relative to the median of the first group."""
        usual_of_ties = []
        for group in self.groups:
            logs = np.log(group.rounds)
            usual = np.median(logs, axis=0)
            usual_of_ties.append(usual[:NUM_TIES])
            slower = float(np.mean(usual_of_ties[-1] - usual_of_ties[0]))
            yield from (slower + np.median(logs - usual, axis=1)).tolist()

    def to_json(self) -> list[list[list[float]]]:
        """Return the milliseconds of all groups that are begun."""
        return [group.rounds for group in self.groups]

    def restore(self, name: str, raw: object, repeats: int) -> None:
        """Take over the rounds that :meth:`to_json` returned.

        Raises:
            ValueError: If they do not fit these groups; the message begins with ``name``.
        """
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
    """Return the times of networks (rows) in rounds (columns), converted to the machine's usual speed."""
    usual = np.median(milliseconds, axis=1, keepdims=True)
    steadied: np.ndarray = milliseconds / np.median(milliseconds / usual, axis=0, keepdims=True)
    return steadied


def robust_median(samples: np.ndarray) -> tuple[float, float, int]:
    """Return the median without outliers, the standard deviation of that median, and the number of samples kept."""
    median = float(np.median(samples))
    deviation = MAD * float(np.median(np.abs(samples - median)))
    kept = samples[np.abs(samples - median) <= max(OUTLIER * deviation, 1e-9)]
    spread = MEDIAN * max(deviation, float(kept.std())) / math.sqrt(len(kept))
    return float(np.median(kept)), spread, len(kept)


def _relative_speed(first: Sequence[Measurement], again: Sequence[Measurement]) -> tuple[float, float]:
    """Return the ratio of first to second latency (geometric mean over networks), and its standard deviation."""
    pairs = list(zip(first, again, strict=True))
    stds = [math.hypot(a.spread / a.ms, b.spread / b.ms) for a, b in pairs]
    return statistics.geometric_mean(a.ms / b.ms for a, b in pairs), math.hypot(*stds) / len(stds)


def repeatability(first: Sequence[Measurement], again: Sequence[Measurement]) -> float:
    """Return the relative standard deviation of a network's latency between two passes, noise included.

    The machine's speed, which all networks share, does not count.

    Args:
        first: Measured networks.
        again: At least two of them, measured a second time.
    """
    return statistics.stdev(_slowdowns(first, again)) / math.sqrt(2)  # both passes contribute equally


def speed_spread(first: Rounds, again: Rounds) -> float:
    """Return the relative standard deviation of the machine's speed between rounds.

    Args:
        first: The first pass.
        again: The second pass, which measures some of the same networks.
    """
    return statistics.stdev(_durations(first, again))


def speeds_of_rounds(first: Rounds, again: Rounds) -> list[float]:
    """Return the ratio of the machine's speed in each round of both passes to that in the very first round."""
    durations = _durations(first, again)
    return [math.exp(durations[0] - log) for log in durations]


def _durations(first: Rounds, again: Rounds) -> list[float]:
    """Return :meth:`Rounds.durations` of both passes, relative to the first."""
    slower = statistics.mean(_slowdowns(first.measurements(), again.measurements()))
    return [*first.durations(), *(slower + log for log in again.durations())]


def _slowdowns(first: Sequence[Measurement], again: Sequence[Measurement]) -> list[float]:
    """Return the logarithm of the ratio of second to first latency, for each network of ``again``."""
    known = {Arch(m.arch): m.ms for m in first}
    return [math.log(m.ms / known[Arch(m.arch)]) for m in again]
