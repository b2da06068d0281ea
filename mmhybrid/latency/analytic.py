"""Latency without measuring networks: computing time and moving time of each operation (a roofline)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmhybrid.counting.estimator import UPPER_STDS, PartLatency
from mmhybrid.counting.operations import Operation, PartCost
from mmhybrid.latency.devices import Device
from mmhybrid.models.parts import Part
from mmhybrid.utils.checks import bad_value, check_float, check_int, check_keys
from mmhybrid.utils.files import read_json, write_json

PRODUCTS = ('convolution', 'depthwise', 'matmul')
OPERATIONS = (*PRODUCTS, 'other')
# Relative standard deviation of what such a model is off by, the same way in all parts: a guess, on the careful side.
MODEL_STD = 0.3
FORMAT = 2


@dataclass(frozen=True)
class Rates:
    """What a device reaches.

    Args:
        macs_per_ms: For ``convolution``, ``depthwise`` and ``matmul``, at full load.
        elements_per_ms: Elements moved to or from memory.
        start_ms: For these three and ``other``, what an operation takes however small it is.
        parallel_macs: For each product the work from which the device is busy; a product with less of it runs as long
            as if it had this much. The degree of parallelism: small on a core, large on a GPU.
    """

    macs_per_ms: Mapping[str, float]
    elements_per_ms: float
    start_ms: Mapping[str, float]
    parallel_macs: Mapping[str, float]

    def slowed(self, factor: float) -> 'Rates':
        """The rates of a device on which every operation takes ``factor`` times as long."""
        return Rates(
            {kind: rate / factor for kind, rate in self.macs_per_ms.items()},
            self.elements_per_ms / factor,
            {kind: ms * factor for kind, ms in self.start_ms.items()},
            self.parallel_macs,
        )


# Of no device, only in proportion: where a scale is fitted anyway.
NOMINAL_START_MS = 0.005
NOMINAL = Rates(
    macs_per_ms={'convolution': 5e7, 'depthwise': 5e6, 'matmul': 5e7},
    elements_per_ms=1.5e6,
    start_ms=dict.fromkeys(OPERATIONS, NOMINAL_START_MS),
    parallel_macs=dict.fromkeys(PRODUCTS, 0.0),
)


def operations_of(part: Part, cost: PartCost) -> tuple[Operation, ...]:
    """What runs of a part; a classifier, which is no module of the backbone, is one product."""
    return (Operation('matmul', cost.macs, 0, cost.params),) if part.kind == 'head' else cost.operations


@dataclass(frozen=True)
class AnalyticLatency:
    """The training-free latency model.

    An operation takes the longer of its computing and its moving, and a start; a part the sum of its operations.

    Args:
        rates: What the device reaches.
        batch: Images at once.
        device: Where the rates were measured, for as many images; None for rates of no device.
    """

    rates: Rates
    batch: int = 1
    device: Device | None = None

    def part_latency(self, part: Part, cost: PartCost) -> PartLatency:
        """Latency of a part; what it is off by is common to all parts."""
        milliseconds = sum(self.operation_latency(operation) for operation in operations_of(part, cost))
        return PartLatency(milliseconds, 0.0, MODEL_STD * milliseconds)

    def operation_latency(self, operation: Operation) -> float:
        """Milliseconds of one operation."""
        rates = self.rates
        moved = operation.activations * self.batch + operation.weights
        computing = 0.0
        if operation.macs:
            macs = max(operation.macs * self.batch, rates.parallel_macs[operation.kind])
            computing = macs / rates.macs_per_ms[operation.kind]
        return rates.start_ms[operation.kind] + max(computing, moved / rates.elements_per_ms)

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """What a network stays below with 95 % probability, as far as :data:`MODEL_STD` is right."""
        return milliseconds + UPPER_STDS * shared_std

    def warn_if_elsewhere(self) -> None:
        """Warn if this machine is not the one that was calibrated."""
        if self.device is not None:
            self.device.warn_if_elsewhere('analytic model')

    def save(self, path: str | Path) -> None:
        """Write the model as JSON, whole or not at all."""
        device = None if self.device is None else asdict(self.device)
        write_json(path, {'format': FORMAT, 'rates': asdict(self.rates), 'batch': self.batch, 'device': device})

    @classmethod
    def load(cls, path: str | Path) -> 'AnalyticLatency':
        """Read what :meth:`save` wrote; ValueError saying what is wrong with it."""
        raw = read_json(path)
        check_keys(f'{path}', raw, ('format', 'rates', 'batch', 'device'))
        if raw['format'] != FORMAT:
            raise bad_value(f'{path}: format', raw['format'], str(FORMAT))
        rates: Any = raw['rates']
        check_keys(f'{path}: rates', rates, list(asdict(NOMINAL)))
        for name, kinds in (('macs_per_ms', PRODUCTS), ('parallel_macs', PRODUCTS), ('start_ms', OPERATIONS)):
            check_keys(f'{path}: rates.{name}', rates[name], kinds)
            for kind, rate in rates[name].items():
                check_float(f'{path}: rates.{name}.{kind}', rate, 0, above=name == 'macs_per_ms')
        check_float(f'{path}: rates.elements_per_ms', rates['elements_per_ms'], 0, above=True)
        batch = check_int(f'{path}: batch', raw['batch'], 1)
        device = None if raw['device'] is None else Device.parse(f'{path}: device', raw['device'])
        if device is not None and device.batch != batch:
            raise bad_value(f'{path}: batch', batch, f'that of its device, {device.batch}')
        return cls(Rates(**rates), batch, device)
