"""Latency tables from few measurements of whole networks.

A part's latency is what a network loses when the part is taken out or exchanged, not what it takes alone. So only
whole networks are timed. Each is the sum of its parts; networks that differ from each other in many parts at once tell
more about each part than networks that differ in one (a weighing design), so the next network to measure is always the
one whose latency the others leave most uncertain. The parts follow by least squares with a prior: the analytic model's
latencies, right up to a factor for each kind of part and smaller ones for parts of near sizes and for each part.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from mmhybrid.estimation.backends import BACKENDS, Backend, Job
from mmhybrid.estimation.devices import Device
from mmhybrid.estimation.estimator import PartCosts
from mmhybrid.estimation.fit import PART_STDS, Prior, fit_parts
from mmhybrid.estimation.latency_table import Entry, LatencyTable, Measurement
from mmhybrid.estimation.parts import out_width
from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value, check_float, check_int, check_keys, check_list
from mmhybrid.utils.files import check_target, plain, read_json, write_json

# What a machine of 8 GiB holds beside everything else.
GROUP_PARAMS = 500_000_000
# Of each group, of each of its rounds, the milliseconds of each network.
Timed = list[list[list[float]]]
CANDIDATES = 2000
SETTLED = 0.02
# Normal deviations in a median absolute deviation, and in the deviation of a median from the mean's.
MAD = 1.4826
MEDIAN = 1.2533
OUTLIER = 3.0


@dataclass(frozen=True)
class Plan:
    """What is measured, and how.

    Args:
        networks: Measured networks of each resolution.
        repeats: Rounds; each times every network once.
        warmup: Rounds before them.
        seed: Of the choice among networks of equal worth.
    """

    networks: int = 90
    repeats: int = 10
    warmup: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_int('networks', self.networks, 2)
        check_int('repeats', self.repeats, 1)
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


def build_network(costs: PartCosts, arch: Mapping[str, Any]) -> Network:
    """What is timed for ``arch``, in eval mode, weights at random."""
    width = out_width(costs.backbone, costs.space.decode(arch)['arch'])
    return Network(costs.build(arch), width, costs.num_classes).eval()


# Which networks


def count_matrix(costs: PartCosts, archs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> np.ndarray:
    """How often each arch (row) has each part (column); parts that are no column are left out."""
    column = {key: i for i, key in enumerate(keys)}
    counts = np.zeros((len(archs), len(keys)))
    for row, arch in enumerate(archs):
        for part in costs.parts(arch):
            if part.key in column:
                counts[row, column[part.key]] += part.copies
    return counts


def part_keys(costs: PartCosts, archs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all parts of ``archs``, as they come."""
    return list(dict.fromkeys(part.key for arch in archs for part in costs.parts(arch)))


def choose_networks(costs: PartCosts, side: int, plan: Plan) -> list[Arch]:
    """The networks of one resolution to measure.

    First the largest and the smallest; then those with the most parts that none has yet; once all parts are there,
    those whose latency the others leave most uncertain.
    """
    space = costs.space.restrict({'resolution': side}) if 'resolution' in costs.space.choices else costs.space
    rng = random.Random(f'{plan.seed} {side}')
    pool = list(dict.fromkeys([space.largest(), space.smallest(), *(space.sample(rng) for _ in range(CANDIDATES))]))
    keys = part_keys(costs, pool)
    counts = count_matrix(costs, pool, keys)
    prior = Prior.of_parts(costs, keys, 1)
    rows = counts / (counts @ prior.means)[:, None]
    covariance = prior.covariance(0, PART_STDS[-1], 0)
    chosen: list[int] = []
    covered = np.zeros(len(keys), bool)
    while len(chosen) < min(plan.networks, len(pool)):
        uncertain = np.einsum('ij,ij->i', rows @ covariance, rows)
        unseen = (counts[:, ~covered] > 0).sum(axis=1)
        order = np.lexsort((uncertain, unseen))[::-1]
        best = len(chosen) if len(chosen) < 2 else next(int(i) for i in order if i not in chosen)
        covered |= counts[best] > 0
        gain = covariance @ rows[best]
        covariance -= np.outer(gain, gain) / (max(uncertain[best], 0) + SETTLED**2)
        chosen.append(best)
    return [pool[i] for i in chosen]


# How long they take


def time_round(jobs: Sequence[Job], backend: Backend) -> list[float]:
    """Milliseconds of each job: run thrice, the first to forget the one before, then the faster of two."""
    milliseconds = []
    for job in jobs:
        job()
        seconds = []
        for _ in range(2):
            backend.synchronise()
            start = backend.clock()
            job()
            backend.synchronise()
            seconds.append(backend.clock() - start)
        milliseconds.append(min(seconds) * 1e3)
    return milliseconds


def steady(milliseconds: np.ndarray) -> np.ndarray:
    """Times of networks (rows) in rounds (columns), less the speed of the machine in each round."""
    usual = np.median(milliseconds, axis=1, keepdims=True)
    speed: np.ndarray = milliseconds / np.median(milliseconds / usual, axis=0, keepdims=True)
    return speed


def settle(samples: np.ndarray) -> tuple[float, float, int]:
    """Median of samples without outliers, the standard deviation of that median, and how many samples were kept."""
    median = float(np.median(samples))
    deviation = MAD * float(np.median(np.abs(samples - median)))
    kept = samples[np.abs(samples - median) <= max(OUTLIER * deviation, 1e-9)]
    spread = MEDIAN * max(deviation, float(kept.std())) / math.sqrt(len(kept))
    return float(np.median(kept)), spread, len(kept)


def measure(
    costs: PartCosts,
    archs: Sequence[Arch],
    backend: Backend,
    batch: int,
    plan: Plan,
    timed: Timed | None = None,
    tick: Callable[[], object] = lambda: None,
) -> list[Measurement]:
    """Time whole networks; every round runs each of them, so that a change of the machine's speed meets all alike.

    Networks that do not fit into memory together make several groups. Each of these runs the first arch too: how fast
    that one is tells how fast the machine is at the time, and all latencies are given at its speed in the first group.

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
        if len(rounds) == plan.repeats:
            continue
        jobs = [_job(costs, arch, backend, batch, generator) for arch in group]
        for _ in range(plan.warmup):
            time_round(jobs, backend)
        while len(rounds) < plan.repeats:
            rounds.append(time_round(jobs, backend))
            tick()
    settled = [[settle(row) for row in steady(np.array(rounds).T)] for rounds in timed]
    measurements = []
    for index, (group, figures) in enumerate(zip(groups, settled, strict=True)):
        speed = settled[0][0][0] / figures[0][0]
        for arch, (ms, spread, repeats) in list(zip(group, figures, strict=True))[index > 0 :]:
            measurements.append(Measurement(dict(arch), ms * speed, spread * speed, repeats))
    return measurements


def split_groups(costs: PartCosts, archs: Sequence[Arch]) -> list[list[Arch]]:
    """Groups that fit into memory, the first arch in front of each."""
    groups: list[list[Arch]] = [[archs[0]]]
    size = 0
    for arch in archs[1:]:
        size += sum(part.copies * costs.counted[part.key].params for part in costs.parts(arch))
        if size > GROUP_PARAMS and len(groups[-1]) > 1:
            groups.append([archs[0]])
            size = 0
        groups[-1].append(arch)
    return groups


def _job(costs: PartCosts, arch: Arch, backend: Backend, batch: int, generator: torch.Generator) -> Job:
    side, channels = costs.side(arch), costs.backbone.get('in_channels', 3)
    images = torch.rand(batch, channels, side, side, generator=generator)
    return backend.build(build_network(costs, arch), images)


# What their parts take


def build_table(costs: PartCosts, measurements: Sequence[Measurement], device: Device) -> LatencyTable:
    """The table that follows from measured networks."""
    archs = [Arch(measurement.arch) for measurement in measurements]
    keys = part_keys(costs, archs)
    counts = count_matrix(costs, archs, keys)
    milliseconds = np.array([measurement.ms for measurement in measurements])
    spreads = np.array([measurement.spread for measurement in measurements])
    fit = fit_parts(counts, milliseconds, spreads, Prior.of_parts(costs, keys, device.batch))
    deviations = np.sqrt(np.maximum(np.diag(fit.covariance), 0))
    repeats = (counts > 0).T @ np.array([measurement.repeats for measurement in measurements])
    entries = {
        key: Entry(float(ms), float(spread), int(count))
        for key, ms, spread, count in zip(keys, fit.latencies, deviations, repeats, strict=True)
    }
    resolutions = tuple(sorted({costs.side(arch) for arch in archs}))
    return LatencyTable(
        costs.space.to_config(),
        costs.backbone,
        costs.input_size,
        costs.num_classes,
        resolutions,
        device,
        fit.model_std,
        entries,
        tuple(measurements),
    )


# All of it


def profile(costs: PartCosts, device: Device, plan: Plan, out: str | Path) -> LatencyTable:
    """Measure a space and write its table to ``out``.

    What is measured is kept in ``out`` with ``.partial`` behind it, from which an interrupted run continues.

    Raises:
        ValueError: If ``out`` cannot be written, or that file is of another space, device or plan, or broken.
    """
    check_target(out)
    backend = BACKENDS[device.backend](device.device, device.dtype, device.threads, device.clock)
    partial = Path(f'{out}.partial')
    setting = _setting(costs, device, plan)
    timed = _read_partial(partial, setting)
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task('rounds', total=None)
        # resolution after resolution in turn: whatever the machine does meanwhile meets all of them
        chosen = zip_longest(*(choose_networks(costs, side, plan) for side in _sides(costs)))
        archs = [arch for turn in chosen for arch in turn if arch is not None]
        groups = split_groups(costs, archs)
        _check_timed(f'{partial}: timed', timed, groups, plan.repeats)
        total = plan.repeats * len(groups)

        def save() -> None:
            write_json(partial, {'setting': setting, 'timed': timed})
            progress.update(task, completed=sum(map(len, timed)), total=total)

        measurements = measure(costs, archs, backend, device.batch, plan, timed, save)
    table = build_table(costs, measurements, device)
    table.save(out)
    partial.unlink(missing_ok=True)
    return table


def _sides(costs: PartCosts) -> tuple[int, ...]:
    resolution = costs.space.choices.get('resolution')
    return (costs.side({}),) if resolution is None else tuple(int(side) for side in resolution.values)


def _setting(costs: PartCosts, device: Device, plan: Plan) -> dict[str, Any]:
    setting = {
        'space': costs.space.to_config(),
        'backbone': costs.backbone,
        'input_size': costs.input_size,
        'num_classes': costs.num_classes,
        'device': asdict(device),
        'plan': asdict(plan),
    }
    plain_setting: dict[str, Any] = plain(setting)
    return plain_setting


def _read_partial(path: Path, setting: Mapping[str, Any]) -> Timed:
    if not path.exists():
        return []
    raw = read_json(path)
    check_keys(f'{path}', raw, ('setting', 'timed'))
    if raw['setting'] != setting:
        raise ValueError(f'{path}: begun with another space, device or plan; remove it to begin anew')
    timed: Timed = raw['timed']
    return timed


def _check_timed(name: str, timed: object, groups: Sequence[Sequence[Arch]], repeats: int) -> None:
    """Raise ValueError, ``name`` in front, unless ``timed`` holds rounds of ``groups``."""
    found = check_list(name, timed)
    if len(found) > len(groups):
        raise bad_value(name, f'{len(found)} groups', f'at most {len(groups)}')
    for i, (group, rounds) in enumerate(zip(groups, found, strict=False)):
        if len(check_list(f'{name}[{i}]', rounds)) > repeats:
            raise bad_value(f'{name}[{i}]', f'{len(rounds)} rounds', f'at most {repeats}')
        for j, milliseconds in enumerate(rounds):
            for ms in check_list(f'{name}[{i}][{j}]', milliseconds, len(group)):
                check_float(f'{name}[{i}][{j}]', ms, 0, above=True)
