"""Latency tables from few measurements of whole networks.

The latency of a part is the time that a network saves when the part is removed, which differs from the latency of the
part alone. Only whole networks are therefore timed, and the latency of each is the sum of its parts:
:mod:`~mmhybrid.latency.design` chooses the networks, :mod:`~mmhybrid.latency.timing` times them,
:mod:`~mmhybrid.latency.fit` estimates their parts.
"""

import random
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import ExportedBackend
from mmhybrid.latency.design import choose_in_turn, choose_others
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fit import Prior, fit_parts
from mmhybrid.latency.kept import KeptNetworks
from mmhybrid.latency.partial import Partial
from mmhybrid.latency.rounds import Measurement, Rounds, repeatability, speed_spread, speeds_of_rounds
from mmhybrid.latency.steps import Steps
from mmhybrid.latency.table import FORMAT, Entry, LatencyTable, Uncertainty
from mmhybrid.latency.timing import Plan, plan_rounds, run_rounds
from mmhybrid.space import Arch
from mmhybrid.utils.files import check_target, is_special, plain

# Number of random networks on which the upper bound is calibrated.
BOUND_SAMPLES = 200
# Number of networks that are measured a second time at the end.
NUM_AGAIN = 16
# A warning is logged when the device's speed falls below this share of its highest speed.
SLOWED = 0.9


def build_table(
    workload: Workload,
    measurements: Sequence[Measurement],
    again: Sequence[Measurement],
    speed_std: float,
    device: Device,
    held_out: Sequence[Measurement] = (),
) -> LatencyTable:
    """Build the table that follows from measured networks.

    Args:
        workload: The networks of the space.
        measurements: The measured networks.
        again: Some of the same networks, measured a second time.
        speed_std: Relative standard deviation of the machine's speed.
        device: The device on which they were measured.
        held_out: Held-out networks that were measured beside them; they are kept in the table.
    """
    archs = [Arch(measurement.arch) for measurement in measurements]
    keys, counts = workload.composition(archs)
    rng = random.Random(0)
    others = [workload.space.sample(rng) for _ in range(BOUND_SAMPLES)]
    counts_of_others, squares = (workload.count_matrix(others, keys, power) for power in (1, 2))
    milliseconds = np.array([measurement.ms for measurement in measurements])
    spreads = np.array([measurement.spread for measurement in measurements])
    repeated = repeatability(measurements, again)
    # Rounds of one measurement may agree better with each other than with rounds of a second measurement.
    stds = np.maximum(spreads, repeated * milliseconds)
    fit = fit_parts(counts, milliseconds, stds, Prior.of_parts(workload, keys, device.batch))
    deviations = np.sqrt(np.maximum(np.diag(fit.covariance), 0))
    repeats = (counts > 0).T @ np.array([measurement.repeats for measurement in measurements])
    entries = {
        key: Entry(float(ms), float(spread), int(count))
        for key, ms, spread, count in zip(keys, fit.latencies, deviations, repeats, strict=True)
    }
    return LatencyTable(
        workload=workload.to_config(),
        device=device,
        uncertainty=Uncertainty(
            residual=fit.model_std,
            shrink=fit.shrink(counts_of_others, squares),
            repeatability=repeated,
            speed_spread=speed_std,
        ),
        entries=entries,
        measurements=tuple(measurements),
        held_out=tuple(held_out),
    )


def profile(workload: Workload, device: Device, plan: Plan, out: str | Path) -> LatencyTable:
    """Measure a space and write its table to ``out``.

    An interrupted run continues from the measured rounds in ``out`` with the suffix ``.partial``, and from the exported
    networks in a folder with the suffix ``.networks``. If ``out`` is a device or a pipe, nothing is kept.

    Raises:
        ValueError: If ``out`` cannot be written, or if the file of rounds is not valid or belongs to another space,
            device, plan or choice of networks.
    """
    check_target(out)
    backend = device.open()
    with Steps() as steps:
        archs, passes = plan_passes(workload, plan)
        partial = Partial(out, setting_of(workload, device, plan, archs))
        partial.read_into(passes, plan.repeats)
        kept, kind = None, type(backend)
        # The backend of a plug-in may override `build`.
        if issubclass(kind, ExportedBackend) and kind.build is ExportedBackend.build and not is_special(out):
            kept = KeptNetworks(f'{out}.networks', workload, kind, device.dtype, device.batch)
            export_missing(kept, _archs_left(passes, plan), steps)
        total = plan.repeats * sum(len(rounds.groups) for rounds in passes.values())
        step = steps.begin('rounds', total, sum(map(len, passes.values())))

        def keep() -> None:
            partial.write(passes)
            step()

        for rounds in passes.values():
            run_rounds(rounds, workload, backend, device.batch, plan, keep, kept)
    table = table_of_passes(workload, device, plan, passes)
    table.save(out)
    partial.remove()
    if kept is not None:
        kept.remove()
    return table


def plan_passes(workload: Workload, plan: Plan) -> tuple[list[Arch], dict[str, Rounds]]:
    """Return the networks to measure, and the two passes without a round yet.

    The first pass, ``timed``, has all networks, the held-out ones last. The second, ``again``, measures some of them a
    second time.
    """
    archs = choose_in_turn(workload, plan)
    again = random.Random(plan.seed).sample(archs, min(NUM_AGAIN, len(archs)))
    for size in workload.sizes() if plan.held_out else ():
        archs += choose_others(workload, size, plan.held_out, set(archs), plan.seed)
    passes = {'timed': archs, 'again': again}
    return archs, {name: plan_rounds(workload, each, plan.held_params) for name, each in passes.items()}


def table_of_passes(workload: Workload, device: Device, plan: Plan, passes: Mapping[str, Rounds]) -> LatencyTable:
    """Return the table of two complete passes; warn if the device did not keep its speed."""
    timed, again = passes['timed'], passes['again']
    speeds = speeds_of_rounds(timed, again)
    if min(speeds) < SLOWED * max(speeds):
        told = ' '.join(f'{speed:.2f}' for speed in speeds)
        warnings.warn(
            f"the device's speed went from {max(speeds):.2f} to {min(speeds):.2f} of the first round's: it was hot, or "
            f'others used it; round by round: {told}',
            stacklevel=3,
        )
    measured = timed.measurements()
    learnt = len(measured) - plan.held_out * len(workload.sizes())
    speed = speed_spread(timed, again)
    return build_table(workload, measured[:learnt], again.measurements(), speed, device, measured[learnt:])


def export_missing(kept: KeptNetworks, archs: Iterable[Arch], steps: Steps) -> None:
    """Export the networks that are not kept yet, one after the other, and show the progress."""
    archs = list(dict.fromkeys(archs))
    missing = kept.missing(archs)
    if missing:
        step = steps.begin('networks exported', len(archs), len(archs) - len(missing))
        for arch in missing:
            kept.export(arch)
            step()


def _archs_left(passes: Mapping[str, Rounds], plan: Plan) -> list[Arch]:
    """Return the networks of all groups with missing rounds."""
    groups = [group for rounds in passes.values() for group in rounds.groups]
    return [arch for group in groups if len(group.rounds) < plan.repeats for arch in group.archs]


def setting_of(workload: Workload, device: Device, plan: Plan, archs: Sequence[Arch]) -> dict[str, Any]:
    """Return the setting that rounds belong to.

    It includes the networks, since another version of this package may choose others.
    """
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
