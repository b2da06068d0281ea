"""Calibration of the analytic model for a device, by a few small measurements."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import PRODUCTS, AnalyticLatency, Rates
from mmhybrid.latency.backends import DTYPES, Backend
from mmhybrid.latency.devices import Device
from mmhybrid.latency.timing import Plan, measure
from mmhybrid.utils.checks import bad_value

RUNS = 30
# Number of elements that exceed the caches of any processor.
LARGE = 2**24
# Channels and sides of the feature maps on which a GPU is timed; the last map takes about 2 GiB.
GPU_WIDTH, GPU_SIDES = 512, (2, 4, 8, 16, 32, 64, 128, 256, 512)
# A product that takes this many times the start-up time is long enough to measure the rate.
ENOUGH_STARTS = 10
SHORTEST_MS = 1e-6


def calibrate(device: Device, workload: Workload) -> AnalyticLatency:
    """Measure the analytic model of ``device``, which takes seconds.

    The rates come from large and small products of each kind and from an addition. Operations run more slowly within a
    network than alone, since other operations used the caches before them. All operations are therefore slowed by the
    ratio of measured to predicted latency, which is the geometric mean over the smallest and the largest network.

    Args:
        device: The device and how it is used.
        workload: The networks that the model is for.

    Raises:
        ValueError: If the device's backend is not ``eager``. A compiler starts fewer operations, which only measured
            networks can show.
    """
    if device.backend != 'eager':
        raise bad_value('backend', device.backend, 'eager for the analytic model; measure a table with the others')
    backend = device.open()
    with backend.running(), torch.inference_mode():
        rates = _rates(backend, device)
    archs = [workload.space.smallest(), workload.space.largest()]
    measured = measure(workload, archs, backend, device.batch, Plan(networks=2, repeats=5, warmup=1))
    model = AnalyticLatency(rates, device.batch, device)
    estimator = Estimator(workload, model)
    ratios = [network.ms / (estimator(network.arch).latency_ms or 0) for network in measured]
    return AnalyticLatency(rates.slowed(statistics.geometric_mean(ratios)), device.batch, device)


def _rates(backend: Backend, device: Device) -> Rates:
    place = {'device': device.device, 'dtype': DTYPES[device.dtype]}
    start = _milliseconds(_addition(*_random(place, (1,), (1,))), backend)
    addition = _milliseconds(_addition(*_random(place, (LARGE,), (LARGE,))), backend)

    def time_product(kind: str, width: int, side: int) -> tuple[float, int]:
        """Return milliseconds and MACs."""
        job, macs = _product(kind, width, side, place)
        return _milliseconds(job, backend), macs

    measure_product = _gpu_product if device.device == 'cuda' else _cpu_product
    products = {kind: measure_product(partial(time_product, kind), start) for kind in PRODUCTS}
    return Rates(
        macs_per_ms={kind: rate for kind, (_, rate, _) in products.items()},
        elements_per_ms=3 * LARGE / max(addition - start, SHORTEST_MS),
        start_ms={'other': start} | {kind: own for kind, (own, _, _) in products.items()},
        parallel_macs={kind: parallel for kind, (_, _, parallel) in products.items()},
    )


def _cpu_product(time_product: Callable[[int, int], tuple[float, int]], _: float) -> tuple[float, float, float]:
    """Return start-up time, rate and parallel MACs; on a CPU, a small product takes only the time to dispatch it."""
    start, _ = time_product(16, 4)
    milliseconds, macs = time_product(128, 64)
    return start, macs / max(milliseconds - start, SHORTEST_MS), 0.0


def _gpu_product(time_product: Callable[[int, int], tuple[float, int]], start: float) -> tuple[float, float, float]:
    """Return start-up time, rate and parallel MACs; on a GPU, only large products reach the full rate.

    A GPU takes the same start-up time for all operations. Each product is four times as large as the one before. They
    grow until the start-up time no longer matters and the time grows with the size, which gives the rate. All small
    products take the same time whatever their size; the parallel MACs are the work that fits into that time at the full
    rate.
    """
    timed = [time_product(GPU_WIDTH, GPU_SIDES[0])]
    for side in GPU_SIDES[1:]:
        timed.append(time_product(GPU_WIDTH, side))
        (before, _), (latest, _) = timed[-2:]
        if latest >= max(ENOUGH_STARTS * start, 3 * before):
            break
    milliseconds, largest = timed[-1]
    rate = largest / max(milliseconds - start, SHORTEST_MS)
    fitting = [(ms - start) * rate for ms, macs in timed if 2 * macs <= (ms - start) * rate]
    return start, rate, statistics.median(fitting) if fitting else 0.0


def _product(kind: str, width: int, side: int, place: Mapping[str, Any]) -> tuple[Callable[[], object], int]:
    """Return a job that computes a product of some kind on a map of ``width`` channels, and its MACs."""
    if kind == 'matmul':
        x, weight = _random(place, (side * side, width), (width, width))
        return lambda: F.linear(x, weight), side * side * width * width
    groups = width if kind == 'depthwise' else 1
    x, weight = _random(place, (1, width, side, side), (width, width // groups, 3, 3))
    return lambda: F.conv2d(x, weight, padding=1, groups=groups), side * side * width * width // groups * 9


def _random(place: Mapping[str, Any], *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator(place['device']).manual_seed(0)
    return [torch.rand(*shape, generator=generator, **place) for shape in shapes]


def _addition(x: Tensor, y: Tensor) -> Callable[[], object]:
    """Return a job that reads two tensors and writes one."""
    return lambda: x + y


def _milliseconds(job: Callable[[], object], backend: Backend) -> float:
    for _ in range(5):
        job()
    return statistics.median(backend.milliseconds(job) for _ in range(RUNS))
