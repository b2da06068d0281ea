"""Latency tables from few measurements of whole networks.

A part's latency is what a network loses when the part is taken out or exchanged, not what it takes alone. So only
whole networks are timed, and each is the sum of its parts: :mod:`~mmhybrid.latency.design` chooses the networks,
:mod:`~mmhybrid.latency.timing` times them, :mod:`~mmhybrid.latency.fit` finds their parts.
"""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmhybrid.counting.part_counter import PartCounter
from mmhybrid.latency.backends import backend_class
from mmhybrid.latency.design import choose_networks, count_matrix, part_keys
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fit import Fit, Prior, fit_parts
from mmhybrid.latency.table import FORMAT, Entry, LatencyTable, Measurement
from mmhybrid.latency.timing import Plan, Rounds, measure, repeatability, speed_spread, split_groups
from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value, check_float, check_keys, check_list
from mmhybrid.utils.files import check_target, first_difference, is_special, plain, read_json, write_json

# Random networks on which the upper bound is calibrated.
BOUND_SAMPLES = 200
# So many networks are measured a second time in the end.
NUM_AGAIN = 16


def build_table(
    costs: PartCounter,
    measurements: Sequence[Measurement],
    again: Sequence[Measurement],
    speed_std: float,
    device: Device,
) -> LatencyTable:
    """The table that follows from measured networks.

    Args:
        costs: Of the space.
        measurements: The networks.
        again: Some of them, measured a second time.
        speed_std: Relative standard deviation of the machine's speed.
        device: What they were measured on.
    """
    archs = [Arch(measurement.arch) for measurement in measurements]
    keys = part_keys(costs, archs)
    counts = count_matrix(costs, archs, keys)
    milliseconds = np.array([measurement.ms for measurement in measurements])
    spreads = np.array([measurement.spread for measurement in measurements])
    repeated = repeatability(measurements, again)
    # the rounds of one measuring may agree with each other better than with those of another
    stds = np.maximum(spreads, repeated * milliseconds)
    fit = fit_parts(counts, milliseconds, stds, Prior.of_parts(costs, keys, device.batch))
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
        None if 'resolution' in costs.space.choices else resolutions[0],
        costs.num_classes,
        resolutions,
        device,
        fit.model_std,
        _shrink(costs, keys, fit),
        repeated,
        speed_std,
        entries,
        tuple(measurements),
    )


def _shrink(costs: PartCounter, keys: Sequence[str], fit: Fit) -> float:
    """Standard deviation of a network's latency over what it were, were the errors of its parts independent.

    Parts that stand in every network are known well together and badly alone: most of their errors cancel.
    """
    rng = random.Random(0)
    archs = [costs.space.sample(rng) for _ in range(BOUND_SAMPLES)]
    counts, own = count_matrix(costs, archs, keys), dict(zip(keys, np.diag(fit.covariance), strict=True))
    variances = np.einsum('ij,ij->i', counts @ fit.covariance, counts)
    # as the estimator adds them up
    independent = [sum(part.copies**2 * own.get(part.key, 0) for part in costs.list_parts(arch)) for arch in archs]
    ratios = np.maximum(variances, 0) / np.maximum(independent, np.finfo(float).tiny)
    return math.sqrt(statistics.median(ratios.tolist()))


def profile(costs: PartCounter, device: Device, plan: Plan, out: str | Path) -> LatencyTable:
    """Measure a space and write its table to ``out``.

    What is measured is kept in ``out`` with ``.partial`` behind it, from which an interrupted run continues; where
    ``out`` is a device or a pipe, nothing is kept.

    Raises:
        ValueError: If ``out`` cannot be written, or that file is broken, or of another space, device, plan or choice of
            networks.
    """
    check_target(out)
    backend = backend_class(device.backend)(device.device, device.dtype, device.threads, device.clock)
    partial = Path(f'{out}.partial')
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task('rounds', total=None)
        # resolution after resolution in turn: whatever the machine does meanwhile meets all of them
        chosen = zip_longest(*(choose_networks(costs, side, plan) for side in _sides(costs)))
        archs = [arch for turn in chosen for arch in turn if arch is not None]
        again = random.Random(plan.seed).sample(archs, min(NUM_AGAIN, len(archs)))
        passes = {'timed': archs, 'again': again}
        setting = _setting(costs, device, plan, archs)
        rounds = _read_partial(partial, setting)
        total = 0
        for name, networks in passes.items():
            groups = split_groups(costs, networks)
            _check_timed(f'{partial}: {name}', rounds[name], groups, plan.repeats)
            total += plan.repeats * len(groups)

        def save() -> None:
            if not is_special(out):
                write_json(partial, {'setting': setting, **rounds})
            progress.update(
                task, completed=sum(len(group) for found in rounds.values() for group in found), total=total
            )

        measured = {
            name: measure(costs, networks, backend, device.batch, plan, rounds[name], save)
            for name, networks in passes.items()
        }
    speed = speed_spread(rounds['timed'], rounds['again'], measured['timed'], measured['again'])
    table = build_table(costs, measured['timed'], measured['again'], speed, device)
    table.save(out)
    partial.unlink(missing_ok=True)
    return table


def _sides(costs: PartCounter) -> tuple[int, ...]:
    resolution = costs.space.choices.get('resolution')
    return (costs.side({}),) if resolution is None else tuple(int(side) for side in resolution.values)


def _setting(costs: PartCounter, device: Device, plan: Plan, archs: Sequence[Arch]) -> dict[str, Any]:
    """What rounds belong to; the networks too, since another version may choose others."""
    setting = {
        'format': FORMAT,
        'space': costs.space.to_config(),
        'backbone': costs.backbone,
        'input_size': costs.input_size,
        'num_classes': costs.num_classes,
        'device': asdict(device),
        'plan': asdict(plan),
        'archs': [dict(arch) for arch in archs],
    }
    plain_setting: dict[str, Any] = plain(setting)
    return plain_setting


def _read_partial(path: Path, setting: Mapping[str, Any]) -> dict[str, Rounds]:
    """Rounds by pass."""
    if not path.exists():
        return {'timed': [], 'again': []}
    raw = read_json(path)
    check_keys(f'{path}', raw, ('setting', 'timed', 'again'))
    if difference := first_difference(raw['setting'], setting):
        raise ValueError(f'{path}: begun otherwise, remove it to begin anew: {difference}')
    return {'timed': raw['timed'], 'again': raw['again']}


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
