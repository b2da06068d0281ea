"""Latency without measuring networks: computing time and moving time of each operation (a roofline)."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from mmhybrid.estimation.backends import DTYPES, Backend
from mmhybrid.estimation.devices import Device
from mmhybrid.estimation.latency_table import UPPER_DEVIATIONS
from mmhybrid.estimation.operations import Operation, PartCost
from mmhybrid.estimation.parts import Part
from mmhybrid.utils.checks import check_float, check_keys
from mmhybrid.utils.files import read_json, write_json

PRODUCTS = ('convolution', 'depthwise', 'matmul')
# What such a model may be off by, as a standard deviation over the latency: a guess, on the careful side.
DOUBT = 0.3
CALIBRATION_RUNS = 30


@dataclass(frozen=True)
class Rates:
    """What a device reaches.

    Args:
        macs_per_ms: For ``convolution``, ``depthwise`` and ``matmul``, at full load.
        elements_per_ms: Moved to or from memory.
        start_ms: What each operation takes however small it is.
        parallel_macs: For each product the work from which the device is busy; a product with less of it runs as long
            as if it had this much. The degree of parallelism: small on a core, large on a GPU.
    """

    macs_per_ms: Mapping[str, float]
    elements_per_ms: float
    start_ms: float
    parallel_macs: Mapping[str, float]


# Of no device, only in proportion: where a scale is fitted anyway.
NOMINAL = Rates(
    macs_per_ms={'convolution': 5e7, 'depthwise': 5e6, 'matmul': 5e7},
    elements_per_ms=1.5e6,
    start_ms=0.005,
    parallel_macs=dict.fromkeys(PRODUCTS, 0.0),
)


@dataclass(frozen=True)
class AnalyticLatency:
    """The training-free latency model.

    An operation takes the longer of its computing and its moving, and a start; a part the sum of its operations.

    Args:
        rates: What the device reaches.
        batch: Images at once.
    """

    rates: Rates
    batch: int = 1

    def part_latency(self, part: Part, cost: PartCost) -> tuple[float, float]:
        """Milliseconds of a part, and what they may be off by as a standard deviation."""
        if part.kind == 'head':
            operations: Iterable[Operation] = (Operation('matmul', cost.macs, 0, cost.params),)
        else:
            operations = cost.operations
        milliseconds = sum(self.operation_latency(operation) for operation in operations)
        return milliseconds, DOUBT * milliseconds

    def operation_latency(self, operation: Operation) -> float:
        """Milliseconds of one operation."""
        rates = self.rates
        moved = operation.activations * self.batch + operation.weights
        computing = 0.0
        if operation.macs:
            macs = max(operation.macs * self.batch, rates.parallel_macs[operation.kind])
            computing = macs / rates.macs_per_ms[operation.kind]
        return rates.start_ms + max(computing, moved / rates.elements_per_ms)

    def upper(self, milliseconds: float, variance: float) -> float:
        """What a network stays below with 95 % probability, were the errors of its parts independent."""
        return milliseconds + UPPER_DEVIATIONS * math.sqrt(variance)

    def save(self, path: str | Path) -> None:
        """Write the model as JSON, whole or not at all."""
        write_json(path, {'rates': asdict(self.rates), 'batch': self.batch})

    @classmethod
    def load(cls, path: str | Path) -> 'AnalyticLatency':
        """Read what :meth:`save` wrote; ValueError saying what is wrong with it."""
        raw = read_json(path)
        check_keys(f'{path}', raw, ('rates', 'batch'))
        rates: Any = raw['rates']
        check_keys(f'{path}: rates', rates, list(asdict(NOMINAL)))
        for name in ('macs_per_ms', 'parallel_macs'):
            check_keys(f'{path}: rates.{name}', rates[name], PRODUCTS)
            for kind, rate in rates[name].items():
                check_float(f'{path}: rates.{name}.{kind}', rate, 0, above=name == 'macs_per_ms')
        check_float(f'{path}: rates.elements_per_ms', rates['elements_per_ms'], 0, above=True)
        check_float(f'{path}: rates.start_ms', rates['start_ms'], 0)
        return cls(Rates(**rates), int(check_float(f'{path}: batch', raw['batch'], 1)))


def calibrate(device: Device) -> Rates:
    """Measure what ``device`` reaches, in seconds: a large and a small product of each kind, and an addition.

    The calls are eager; a compiler starts fewer operations, which only the table can know.
    """
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

    tiny, large = make(1), make(2**22)
    start = _milliseconds(lambda: tiny + tiny, device)
    elements = 3 * large.numel() / max(_milliseconds(lambda: large + large, device) - start, 1e-6)
    speeds, loads = {}, {}
    for kind in PRODUCTS:
        job, macs = product(kind, 128, 64)
        speeds[kind] = macs / max(_milliseconds(job, device) - start, 1e-6)
        job, macs = product(kind, 16, 4)
        loads[kind] = max(_milliseconds(job, device) - start, 0.0) * speeds[kind]
    return Rates(speeds, elements, start, loads)


@torch.inference_mode()
def _milliseconds(job: Callable[[], object], device: Device) -> float:
    backend = Backend(device.device, device.dtype, device.threads, device.clock)
    seconds = []
    for _ in range(CALIBRATION_RUNS + 5):
        backend.synchronise()
        begin = backend.clock()
        job()
        backend.synchronise()
        seconds.append(backend.clock() - begin)
    return statistics.median(seconds[5:]) * 1e3
