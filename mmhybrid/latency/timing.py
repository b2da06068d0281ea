"""How long whole networks take."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmhybrid.counting.part_counter import PartCounter
from mmhybrid.latency.backends import Backend, Job
from mmhybrid.latency.table import Measurement
from mmhybrid.space import Arch
from mmhybrid.utils.checks import check_int

# Parameters of the networks that are held at once: what a machine of 8 GiB holds beside everything else.
MAX_PARAMS_IN_MEMORY = 500_000_000
# Networks that every group runs: they tell how fast the machine is at the time.
NUM_TIES = 4
# Of each group, of each of its rounds, the milliseconds of each network.
Rounds = list[list[list[float]]]
# Standard deviations of a normal distribution in its median absolute deviation, and of its median in its mean's.
MAD = 1.4826
MEDIAN = 1.2533
# Standard deviations from which a sample is an outlier.
OUTLIER = 3.0


@dataclass(frozen=True)
class Plan:
    """What is measured, and how.

    Args:
        networks: Measured networks of each resolution.
        repeats: Rounds, at least two, which tell the noise; each times every network once.
        warmup: Rounds before them.
        seed: Of the choice among networks of equal worth.
    """

    networks: int = 90
    repeats: int = 10
    warmup: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_int('networks', self.networks, 2)
        check_int('repeats', self.repeats, 2)
        check_int('warmup', self.warmup, 0)


class Network(nn.Module):
    """A backbone, and a classifier if there are classes."""

    def __init__(self, backbone: nn.Module, in_width: int, num_classes: int | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = None if num_classes is None else nn.Linear(in_width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images -> the last output, or logits."""
        x = self.backbone(x)[-1]
        if self.head is None:
            return x
        return self.head(x.mean((2, 3)) if x.ndim == 4 else x)


def build_network(costs: PartCounter, arch: Mapping[str, Any]) -> Network:
    """What is timed for ``arch``, in eval mode, weights at random."""
    with own_generator():
        return Network(costs.build(arch), costs.out_width(arch), costs.num_classes).eval()


@contextmanager
def own_generator() -> Iterator[None]:
    """Random numbers that are always the same, and leave torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def time_round(jobs: Sequence[Job], backend: Backend) -> list[float]:
    """Milliseconds of each job: run thrice, the first to forget the one before, then the faster of two."""
    milliseconds = []
    for job in jobs:
        job()
        milliseconds.append(min(backend.milliseconds(job) for _ in range(2)))
    return milliseconds


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


def measure(
    costs: PartCounter,
    archs: Sequence[Arch],
    backend: Backend,
    batch: int,
    plan: Plan,
    timed: Rounds | None = None,
    tick: Callable[[], object] = lambda: None,
) -> list[Measurement]:
    """Time whole networks; every round runs each of them, so that a change of the machine's speed meets all alike.

    Networks that do not fit into memory together make several groups. Each of these runs the first few archs too: how
    fast they are tells how fast the machine is at the time. All latencies are given at its speed in the first group.

    Args:
        costs: Of the space.
        archs: The networks.
        backend: What runs them.
        batch: Images at once.
        plan: How often.
        timed: Rounds of each group that are done already; those to come are added.
        tick: Called after each round.
    """
    timed = [] if timed is None else timed
    groups = split_groups(costs, archs)
    timed += [[] for _ in groups[len(timed) :]]
    generator = torch.Generator().manual_seed(plan.seed)
    for group, rounds in zip(groups, timed, strict=True):
        if len(rounds) < plan.repeats:
            with backend.running():
                jobs = [_job(costs, arch, backend, batch, generator) for arch in group]
                _time_group(jobs, backend, plan, rounds, tick)
                del jobs  # before the next group's networks need the memory
    return [measurement for group in _at_one_speed(groups, timed) for measurement in group]


def _time_group(
    jobs: Sequence[Job], backend: Backend, plan: Plan, rounds: list[list[float]], tick: Callable[[], object]
) -> None:
    """Add the rounds that are left."""
    for _ in range(plan.warmup):
        time_round(jobs, backend)
    while len(rounds) < plan.repeats:
        rounds.append(time_round(jobs, backend))
        tick()


def _at_one_speed(groups: Sequence[Sequence[Arch]], timed: Rounds) -> Iterator[list[Measurement]]:
    """For each group the networks that no earlier one has, at the machine's speed in the first."""
    ties: list[Measurement] = []
    for group, rounds in zip(groups, timed, strict=True):
        figures = [robust_median(row) for row in divide_out_speed(np.array(rounds).T)]
        found = [Measurement(dict(arch), *row) for arch, row in zip(group, figures, strict=True)]
        if not ties:
            ties = found[:NUM_TIES]
            yield found
        else:
            speed, speed_std = _relative_speed(ties, found[:NUM_TIES])
            yield [
                replace(m, ms=speed * m.ms, spread=speed * math.hypot(m.spread, speed_std * m.ms))
                for m in found[NUM_TIES:]
            ]


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


def speed_spread(
    timed: Rounds, timed_again: Rounds, first: Sequence[Measurement], again: Sequence[Measurement]
) -> float:
    """Relative standard deviation of the machine's speed from round to round, about its mean.

    Args:
        timed: Rounds of ``first``.
        timed_again: Rounds of ``again``.
        first: Measured networks.
        again: Some of them, measured a second time.
    """
    slower = statistics.mean(_slowdowns(first, again))
    return statistics.stdev([*_round_times(timed), *(slower + log for log in _round_times(timed_again))])


def _slowdowns(first: Sequence[Measurement], again: Sequence[Measurement]) -> list[float]:
    """Logarithms of how much longer networks took the second time."""
    known = {Arch(m.arch): m.ms for m in first}
    return [math.log(m.ms / known[Arch(m.arch)]) for m in again]


def _round_times(timed: Rounds) -> Iterator[float]:
    """Logarithms of how long each round took, relative to the first group's usual one."""
    usual_of_ties = []
    for rounds in timed:
        logs = np.log(rounds)
        usual = np.median(logs, axis=0)
        usual_of_ties.append(usual[:NUM_TIES])
        slower = float(np.mean(usual_of_ties[-1] - usual_of_ties[0]))
        yield from (slower + np.median(logs - usual, axis=1)).tolist()


def split_groups(costs: PartCounter, archs: Sequence[Arch]) -> list[list[Arch]]:
    """Groups that fit into memory, the first ``NUM_TIES`` archs in front of each."""
    sizes = [sum(part.copies * costs.cost_of(part).params for part in costs.parts(arch)) for arch in archs]
    ties, size_of_ties = list(archs[:NUM_TIES]), sum(sizes[:NUM_TIES])
    groups, size = [list(ties)], size_of_ties
    for arch, params in zip(archs[NUM_TIES:], sizes[NUM_TIES:], strict=True):
        if size + params > MAX_PARAMS_IN_MEMORY and len(groups[-1]) > len(ties):
            groups.append(list(ties))
            size = size_of_ties
        groups[-1].append(arch)
        size += params
    return groups


def _job(costs: PartCounter, arch: Arch, backend: Backend, batch: int, generator: torch.Generator) -> Job:
    images = torch.rand(batch, *costs.input_shape(arch), generator=generator)
    return backend.build(build_network(costs, arch), images)
