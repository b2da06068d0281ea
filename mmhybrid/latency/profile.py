"""Latency tables from few measurements of whole networks.

A part's latency is what a network loses when the part is taken out or exchanged, not what it takes alone. So only
whole networks are timed, and each is the sum of its parts: :mod:`~mmhybrid.latency.design` chooses the networks,
:mod:`~mmhybrid.latency.timing` times them, :mod:`~mmhybrid.latency.fit` finds their parts.
"""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import backend_class
from mmhybrid.latency.design import choose_networks, count_matrix, part_keys
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fit import Fit, Prior, fit_parts
from mmhybrid.latency.partial import Partial
from mmhybrid.latency.rounds import Measurement, repeatability, speed_spread
from mmhybrid.latency.table import FORMAT, Entry, LatencyTable, Uncertainty
from mmhybrid.latency.timing import Plan, plan_rounds, run_rounds
from mmhybrid.space import Arch
from mmhybrid.utils.files import check_target, plain

# Random networks on which the upper bound is calibrated.
BOUND_SAMPLES = 200
# So many networks are measured a second time in the end.
NUM_AGAIN = 16


def build_table(
    workload: Workload,
    measurements: Sequence[Measurement],
    again: Sequence[Measurement],
    speed_std: float,
    device: Device,
) -> LatencyTable:
    """The table that follows from measured networks.

    Args:
        workload: The networks of the space.
        measurements: The networks.
        again: Some of them, measured a second time.
        speed_std: Relative standard deviation of the machine's speed.
        device: What they were measured on.
    """
    archs = [Arch(measurement.arch) for measurement in measurements]
    keys = part_keys(workload, archs)
    counts = count_matrix(workload, archs, keys)
    milliseconds = np.array([measurement.ms for measurement in measurements])
    spreads = np.array([measurement.spread for measurement in measurements])
    repeated = repeatability(measurements, again)
    # the rounds of one measuring may agree with each other better than with those of another
    stds = np.maximum(spreads, repeated * milliseconds)
    fit = fit_parts(counts, milliseconds, stds, Prior.of_parts(workload, keys, device.batch))
    deviations = np.sqrt(np.maximum(np.diag(fit.covariance), 0))
    repeats = (counts > 0).T @ np.array([measurement.repeats for measurement in measurements])
    entries = {
        key: Entry(float(ms), float(spread), int(count))
        for key, ms, spread, count in zip(keys, fit.latencies, deviations, repeats, strict=True)
    }
    config = workload.to_config()
    return LatencyTable(
        # images are square
        workload=replace(config, input_size=None if config.input_size is None else workload.side({})),
        device=device,
        uncertainty=Uncertainty(
            residual=fit.model_std,
            shrink=_shrink(workload, keys, fit),
            repeatability=repeated,
            speed_spread=speed_std,
        ),
        entries=entries,
        measurements=tuple(measurements),
    )


def _shrink(workload: Workload, keys: Sequence[str], fit: Fit) -> float:
    """Standard deviation of a network's latency over what it were, were the errors of its parts independent.

    Parts that stand in every network are known well together and badly alone: most of their errors cancel.
    """
    rng = random.Random(0)
    archs = [workload.space.sample(rng) for _ in range(BOUND_SAMPLES)]
    counts, own = count_matrix(workload, archs, keys), dict(zip(keys, np.diag(fit.covariance), strict=True))
    variances = np.einsum('ij,ij->i', counts @ fit.covariance, counts)
    # as the estimator adds them up
    independent = [sum(part.copies**2 * own.get(part.key, 0) for part in workload.list_parts(arch)) for arch in archs]
    ratios = np.maximum(variances, 0) / np.maximum(independent, np.finfo(float).tiny)
    return math.sqrt(statistics.median(ratios.tolist()))


def profile(workload: Workload, device: Device, plan: Plan, out: str | Path) -> LatencyTable:
    """Measure a space and write its table to ``out``.

    What is measured is kept in ``out`` with ``.partial`` behind it, from which an interrupted run continues; where
    ``out`` is a device or a pipe, nothing is kept.

    Raises:
        ValueError: If ``out`` cannot be written, or that file is broken, or of another space, device, plan or choice of
            networks.
    """
    check_target(out)
    backend = backend_class(device.backend)(device.device, device.dtype, device.threads, device.clock)
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task('rounds', total=None)
        # resolution after resolution in turn: whatever the machine does meanwhile meets all of them
        chosen = zip_longest(*(choose_networks(workload, side, plan) for side in _sides(workload)))
        archs = [arch for turn in chosen for arch in turn if arch is not None]
        again = random.Random(plan.seed).sample(archs, min(NUM_AGAIN, len(archs)))
        passes = {'timed': plan_rounds(workload, archs), 'again': plan_rounds(workload, again)}
        partial = Partial(out, _setting(workload, device, plan, archs))
        partial.read_into(passes, plan.repeats)
        total = plan.repeats * sum(len(rounds.groups) for rounds in passes.values())

        def keep() -> None:
            partial.write(passes)
            progress.update(task, completed=sum(map(len, passes.values())), total=total)

        for rounds in passes.values():
            run_rounds(rounds, workload, backend, device.batch, plan, keep)
    measured = {name: rounds.measurements() for name, rounds in passes.items()}
    speed_std = speed_spread(passes['timed'], passes['again'])
    table = build_table(workload, measured['timed'], measured['again'], speed_std, device)
    table.save(out)
    partial.remove()
    return table


def _sides(workload: Workload) -> tuple[int, ...]:
    resolution = workload.space.choices.get('resolution')
    return (workload.side({}),) if resolution is None else tuple(int(side) for side in resolution.values)


def _setting(workload: Workload, device: Device, plan: Plan, archs: Sequence[Arch]) -> dict[str, Any]:
    """What rounds belong to; the networks too, since another version may choose others."""
    setting: dict[str, Any] = plain(
        {
            'format': FORMAT,
            **vars(workload.to_config()),
            'device': asdict(device),
            'plan': asdict(plan),
            'archs': [dict(arch) for arch in archs],
        }
    )
    return setting
