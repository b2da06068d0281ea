"""The analytic model of a device, from a few small measurements."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from mmhybrid.estimation.analytic import PRODUCTS, AnalyticLatency, Rates
from mmhybrid.estimation.backends import DTYPES, Backend
from mmhybrid.estimation.devices import Device
from mmhybrid.estimation.estimator import Estimator, PartCounter
from mmhybrid.estimation.timing import Plan, measure
from mmhybrid.utils.checks import bad_value

RUNS = 30
# More than the caches of a processor hold.
LARGE = 2**24


def calibrate(device: Device, costs: PartCounter) -> AnalyticLatency:
    """Measure the model of ``device`` in seconds.

    Rates come from a large and a small product of each kind and from an addition. Operations within a network run
    slower than alone (others were in the caches before); by how much the smallest and the largest network tell, whose
    geometric mean the model meets.

    Args:
        device: Where, and how it is used.
        costs: Of the space that the model is for.

    Raises:
        ValueError: If the device's backend is not ``eager``: a compiler starts fewer operations, which only a table can
            know.
    """
    if device.backend != 'eager':
        raise bad_value('backend', device.backend, 'eager for the analytic model; measure a table with the others')
    backend = Backend(device.device, device.dtype, device.threads, device.clock)
    with backend.running(), torch.inference_mode():
        rates = _rates(backend, device)
    archs = [costs.space.smallest(), costs.space.largest()]
    measured = measure(costs, archs, backend, device.batch, Plan(networks=2, repeats=5, warmup=1))
    model = AnalyticLatency(rates, device.batch, device)
    estimator = Estimator(costs.space, costs.backbone, costs.input_size, costs.num_classes, model)
    ratios = [network.ms / (estimator(network.arch).latency_ms or 0) for network in measured]
    return AnalyticLatency(rates.slowed(statistics.geometric_mean(ratios)), device.batch, device)


def _rates(backend: Backend, device: Device) -> Rates:
    place: dict[str, Any] = {'device': device.device, 'dtype': DTYPES[device.dtype]}
    generator = torch.Generator(device.device).manual_seed(0)

    def make(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, **place)

    def product(kind: str, width: int, side: int) -> tuple[Callable[[], object], int]:
        if kind == 'matmul':
            x, weight = make(side * side, width), make(width, width)
            return lambda: F.linear(x, weight), side * side * width * width
        groups = width if kind == 'depthwise' else 1
        x, weight = make(1, width, side, side), make(width, width // groups, 3, 3)
        return lambda: F.conv2d(x, weight, padding=1, groups=groups), side * side * width * width // groups * 9

    starts = {'other': _milliseconds(_addition(make(1), make(1)), backend)}
    addition = _milliseconds(_addition(make(LARGE), make(LARGE)), backend)
    elements = 3 * LARGE / max(addition - starts['other'], 1e-6)
    speeds, loads = {}, {}
    for kind in PRODUCTS:
        small = _milliseconds(product(kind, 16, 4)[0], backend)
        # a processor spends this time on dispatching, a GPU computes in it and would have done more
        starts[kind] = starts['other'] if device.device == 'cuda' else small
        job, macs = product(kind, 128, 64)
        speeds[kind] = macs / max(_milliseconds(job, backend) - starts[kind], 1e-6)
        loads[kind] = max(small - starts[kind], 0.0) * speeds[kind]
    return Rates(speeds, elements, starts, loads)


def _addition(x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    """Reads two tensors and writes one."""
    return lambda: x + y


def _milliseconds(job: Callable[[], object], backend: Backend) -> float:
    for _ in range(5):
        job()
    return statistics.median(backend.milliseconds(job) for _ in range(RUNS))
