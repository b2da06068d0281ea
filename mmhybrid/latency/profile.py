"""Latency tables from few measurements of whole networks.

A part's latency is what a network loses when the part is taken out or exchanged, not what it takes alone. So only
whole networks are timed, and each is the sum of its parts: :mod:`~mmhybrid.latency.design` chooses the networks,
:mod:`~mmhybrid.latency.timing` times them, :mod:`~mmhybrid.latency.fit` finds their parts.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.design import choose_in_turn
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fit import Prior, fit_parts
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
    keys, counts = workload.composition(archs)
    rng = random.Random(0)
    others = [workload.space.sample(rng) for _ in range(BOUND_SAMPLES)]
    counts_of_others, squares = (workload.count_matrix(others, keys, power) for power in (1, 2))
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
            shrink=fit.shrink(counts_of_others, squares),
            repeatability=repeated,
            speed_spread=speed_std,
        ),
        entries=entries,
        measurements=tuple(measurements),
    )


def profile(workload: Workload, device: Device, plan: Plan, out: str | Path) -> LatencyTable:
    """Measure a space and write its table to ``out``.

    What is measured is kept in ``out`` with ``.partial`` behind it, from which an interrupted run continues; where
    ``out`` is a device or a pipe, nothing is kept.

    Raises:
        ValueError: If ``out`` cannot be written, or that file is broken, or of another space, device, plan or choice of
            networks.
    """
    check_target(out)
    backend = device.open()
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task('rounds', total=None)
        archs = choose_in_turn(workload, plan)
        again = random.Random(plan.seed).sample(archs, min(NUM_AGAIN, len(archs)))
        passes = {'timed': plan_rounds(workload, archs), 'again': plan_rounds(workload, again)}
        setting = _setting(workload, device, plan, archs)
        partial = Partial(out, setting)
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
