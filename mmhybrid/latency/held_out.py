"""The accuracy of predicted latencies on held-out networks, compared with simpler predictions."""

import io
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import nn

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.operations import find
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import Backend, Job
from mmhybrid.latency.design import choose_others
from mmhybrid.latency.on_device import image_dtype
from mmhybrid.latency.rounds import Measurement, robust_median
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan, measure
from mmhybrid.models.classifier import own_generator
from mmhybrid.models.parts import Part
from mmhybrid.space import Arch
from mmhybrid.utils.files import write_whole
from mmhybrid.utils.statistics import bootstrap_interval, kendall_tau

# Number of the table's networks at each resolution that are measured again.
YARDSTICKS = 8


@dataclass(frozen=True)
class HeldOut:
    """Measured networks from which the table did not learn.

    Args:
        archs: The networks.
        milliseconds: (networks,) measured latencies.
        drift: Ratio of the latency of the table's networks when the table was measured to their latency now.
            Multiplying a latency that is measured now by this ratio gives the latency at that time.
        drift_spread: Standard deviation of that ratio between networks.
        noise: Median relative standard deviation of these measurements.
    """

    archs: tuple[Arch, ...]
    milliseconds: np.ndarray
    drift: float
    drift_spread: float
    noise: float


def choose_held_out(workload: Workload, table: LatencyTable, count: int, seed: int) -> list[Arch]:
    """Return at least ``count`` random networks that the table was not measured with, equally many of each resolution.

    Raises:
        ValueError: If the space has too few such networks.
    """
    seen = {Arch(measurement.arch) for measurement in table.measurements}
    per_size = math.ceil(count / len(table.resolutions))
    return [arch for size in table.resolutions for arch in choose_others(workload, size, per_size, seen, seed)]


def recorded(table: LatencyTable) -> HeldOut:
    """Return the held-out networks that were measured in the same rounds as the table's networks.

    Raises:
        ValueError: If there are fewer than two.
    """
    if len(table.held_out) < 2:
        raise ValueError(f'latency table: {len(table.held_out)} held-out networks, allowed: at least 2')
    milliseconds = np.array([network.ms for network in table.held_out])
    noise = statistics.median(network.spread / network.ms for network in table.held_out)
    return HeldOut(tuple(Arch(network.arch) for network in table.held_out), milliseconds, 1.0, 0.0, noise)


def measure_held_out(workload: Workload, table: LatencyTable, archs: Sequence[Arch], plan: Plan) -> HeldOut:
    """Measure networks with the device and settings of the table, together with some of the table's own networks."""
    device = table.device
    backend = device.open()
    known = [
        measurement
        for size in table.resolutions
        for measurement in [m for m in table.measurements if workload.size(m.arch) == size][:YARDSTICKS]
    ]
    now = measure(workload, [*(Arch(m.arch) for m in known), *archs], backend, device.batch, plan)
    others = now[len(known) :]
    drifts = np.array([m.ms / again.ms for m, again in zip(known, now, strict=False)])
    milliseconds = np.array([other.ms for other in others])
    noise = statistics.median(other.spread / other.ms for other in others)
    return HeldOut(tuple(archs), milliseconds, float(np.median(drifts)), float(drifts.std(ddof=1)), noise)


def prediction_errors(predicted: np.ndarray, measured: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return how well predictions agree with measurements.

    The figures are the share of networks within 10 %, the mean absolute error and the bias (both relative to the
    measurement), and Kendall's tau with its 95 % confidence interval from bootstrap samples.
    """
    errors = predicted / measured - 1
    low, high = bootstrap_interval(lambda rows: kendall_tau(predicted[rows], measured[rows]), len(measured), seed)
    return {
        'within_10pct': float(np.mean(np.abs(errors) <= 0.1)),
        'mape': float(np.abs(errors).mean()),
        'bias': float(errors.mean()),
        'kendall_tau': kendall_tau(predicted, measured),
        'kendall_tau_low': low,
        'kendall_tau_high': high,
    }


def predict(estimator: Estimator, archs: Sequence[Arch]) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted latencies and their 95 % upper bounds, both in milliseconds (networks,)."""
    pairs = [(cost.latency_ms, cost.latency_upper_ms) for cost in map(estimator, archs)]
    return np.array([pair[0] for pair in pairs], float), np.array([pair[1] for pair in pairs], float)


def macs_line(estimator: Estimator, measurements: Sequence[Measurement], archs: Sequence[Arch]) -> np.ndarray:
    """Predict latencies from MACs alone, by a straight line that is fitted to ``measurements``."""
    known = [estimator(measurement.arch).macs_m for measurement in measurements]
    slope, offset = np.polyfit(known, [measurement.ms for measurement in measurements], 1)
    return np.array([slope * estimator(arch).macs_m + offset for arch in archs])


def parts_alone(workload: Workload, table: LatencyTable, archs: Sequence[Arch], plan: Plan) -> np.ndarray:
    """Predict latencies as the sum of parts that are timed one by one, outside any network (eager torch)."""
    device = table.device
    backend = Backend(device.device, image_dtype(device.dtype), device.threads, device.clock)
    milliseconds: dict[str, float] = {}
    for arch in archs:
        new = [part for part in workload.parts(arch) if part.key not in milliseconds]
        if not new:
            continue
        with own_generator():
            network = workload.build(arch).to(device.device, backend.dtype)
        for part in new:
            with own_generator(), backend.running(), torch.inference_mode():
                jobs = list(_part_jobs(network, part, device.batch, backend))
                rounds = np.array([backend.time_round(jobs) for _ in range(plan.repeats)])
            milliseconds[part.key] = sum(robust_median(times)[0] for times in rounds.T)
    return np.array([sum(part.copies * milliseconds[part.key] for part in workload.parts(arch)) for arch in archs])


def _part_jobs(network: nn.Module, part: Part, batch: int, backend: Backend) -> Iterator[Job]:
    place = {'device': backend.device, 'dtype': backend.dtype}
    for path, *shapes in part.pieces:
        piece = find(network, path)
        if shapes and isinstance(piece, nn.Module):
            yield partial(piece, *(torch.rand(batch, *shape, **place) for shape in shapes))
    if part.kind == 'head':
        head = nn.Linear(int(float(part.sizes['in'])), int(float(part.sizes['classes']))).to(**place)
        yield partial(head, torch.rand(batch, head.in_features, **place))


def scatter(path: str | Path, measured: np.ndarray, predicted: Mapping[str, np.ndarray], title: str) -> None:
    """Draw predictions against measurements into a PNG file, one panel for each prediction, with the 10 % band.

    The file is written whole or not at all.
    """
    with rc_context({'text.usetex': False}):  # LaTeX would run names as programs
        figure = Figure(figsize=(4 * len(predicted), 4))  # not a figure of pyplot, whose backend may be LaTeX too
        panels = figure.subplots(1, len(predicted), squeeze=False)
        low, high = 0.9 * measured.min(), 1.1 * measured.max()
        line = np.array([low, high])
        for panel, (name, values) in zip(panels[0], predicted.items(), strict=True):
            panel.fill_between(line, 0.9 * line, 1.1 * line, alpha=0.2, linewidth=0)
            panel.plot(line, line, linewidth=0.8)
            panel.scatter(measured, values, s=12)
            figures = prediction_errors(values, measured)
            panel.set_title(
                f'{name}: {100 * figures["within_10pct"]:.0f} % within 10 %, tau {figures["kendall_tau"]:.2f}'
            )
            panel.set_xlabel('measured, ms')
            panel.set_ylabel('predicted, ms')
        figure.suptitle(title, parse_math=False)
        figure.tight_layout()
        png = io.BytesIO()
        figure.savefig(png, format='png', dpi=120)
    write_whole(path, png.getvalue())
