"""A roofline model of latency, from the compute time and the memory traffic of each operation.

It needs no measured network.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmhybrid.counting.estimator import UPPER_STDS, PartLatency
from mmhybrid.counting.operations import Operation, PartCost
from mmhybrid.latency.devices import MOST, Device
from mmhybrid.models.parts import Part
from mmhybrid.utils.checks import bad_value, check_float, check_int, check_keys
from mmhybrid.utils.files import read_json, write_json

PRODUCTS = ('convolution', 'depthwise', 'matmul')
OPERATIONS = (*PRODUCTS, 'other')
# Relative standard deviation of the model's error, which all parts share. It is a guess on the careful side.
MODEL_STD = 0.3
FORMAT = 2


@dataclass(frozen=True)
class Rates:
    """Throughput and start-up times of a device.

    Args:
        macs_per_ms: MACs per millisecond at full load, for ``convolution``, ``depthwise`` and ``matmul``.
        elements_per_ms: Elements moved to or from memory per millisecond.
        start_ms: Milliseconds that an operation takes however small it is, for these three kinds and for ``other``.
        parallel_macs: MACs that keep the device busy, for each of the three kinds. A smaller operation takes as long as
            one of this size. The value is small on a CPU core and large on a GPU.
    """

    macs_per_ms: Mapping[str, float]
    elements_per_ms: float
    start_ms: Mapping[str, float]
    parallel_macs: Mapping[str, float]

    def slowed(self, factor: float) -> 'Rates':
        """Return the rates of a device on which every operation takes ``factor`` times as long."""
        return Rates(
            {kind: rate / factor for kind, rate in self.macs_per_ms.items()},
            self.elements_per_ms / factor,
            {kind: ms * factor for kind, ms in self.start_ms.items()},
            self.parallel_macs,
        )


# These rates belong to no device. Only their proportions matter, since whoever uses them fits a common factor.
NOMINAL_START_MS = 0.005
NOMINAL = Rates(
    macs_per_ms={'convolution': 5e7, 'depthwise': 5e6, 'matmul': 5e7},
    elements_per_ms=1.5e6,
    start_ms=dict.fromkeys(OPERATIONS, NOMINAL_START_MS),
    parallel_macs=dict.fromkeys(PRODUCTS, 0.0),
)


def operations_of(part: Part, cost: PartCost) -> tuple[Operation, ...]:
    """Return the operations of a part; a classifier, which is not a module of the backbone, is one matrix product."""
    return (Operation('matmul', cost.macs, 0, cost.params),) if part.kind == 'head' else cost.operations


@dataclass(frozen=True)
class AnalyticLatency:
    """The training-free latency model.

    An operation takes its start-up time plus the longer of its compute time and its memory time. A part takes the sum
    of its operations.

    Args:
        rates: Throughput of the device.
        batch: Batch size.
        device: The device on which the rates were measured with this batch size; None for rates that were not measured.
    """

    rates: Rates
    batch: int = 1
    device: Device | None = None

    def part_latency(self, part: Part, cost: PartCost) -> PartLatency:
        """Return the latency of a part, with a standard deviation that all parts share."""
        milliseconds = sum(self.operation_latency(operation) for operation in operations_of(part, cost))
        return PartLatency(milliseconds, 0.0, MODEL_STD * milliseconds)

    def operation_latency(self, operation: Operation) -> float:
        """Return the latency of one operation in milliseconds."""
        rates = self.rates
        moved = operation.activations * self.batch + operation.weights
        computing = 0.0
        if operation.macs:
            macs = max(operation.macs * self.batch, rates.parallel_macs[operation.kind])
            computing = macs / rates.macs_per_ms[operation.kind]
        return rates.start_ms[operation.kind] + max(computing, moved / rates.elements_per_ms)

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """Return the 95 % upper bound of a network's latency, given that :data:`MODEL_STD` is right."""
        return milliseconds + UPPER_STDS * shared_std

    def warn_if_elsewhere(self) -> None:
        """Warn if the rates were measured on another machine."""
        if self.device is not None:
            self.device.warn_if_elsewhere('analytic model')

    def save(self, path: str | Path) -> None:
        """Write the model as JSON. The file is written whole or not at all."""
        device = None if self.device is None else asdict(self.device)
        write_json(path, {'format': FORMAT, 'rates': asdict(self.rates), 'batch': self.batch, 'device': device})

    @classmethod
    def load(cls, path: str | Path) -> 'AnalyticLatency':
        """Read a model that :meth:`save` wrote.

        Raises:
            ValueError: If the file is not valid; the message names the field.
        """
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
        batch = check_int(f'{path}: batch', raw['batch'], 1, MOST)
        device = None if raw['device'] is None else Device.parse(f'{path}: device', raw['device'])
        if device is not None and device.batch != batch:
            raise bad_value(f'{path}: batch', batch, f'that of its device, {device.batch}')
        return cls(Rates(**rates), batch, device)
