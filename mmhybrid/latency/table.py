"""Measured latencies of the parts of a space's networks, in a JSON file."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmhybrid.counting.estimator import UPPER_STDS, PartLatency
from mmhybrid.counting.operations import PartCost
from mmhybrid.counting.workload import InputSize, Size, Workload, WorkloadConfig, size_of
from mmhybrid.latency.devices import Device
from mmhybrid.latency.rounds import Measurement
from mmhybrid.models.parts import Part
from mmhybrid.registry import SEARCH_SPACES, registered_class
from mmhybrid.space import SearchSpace
from mmhybrid.utils.checks import bad_value, check_class, check_float, check_int, check_keys, check_list
from mmhybrid.utils.files import first_difference, plain, read_json, write_json

FORMAT = 4
# Number of random networks whose parts are looked up before a table is used. A part that occurs in 1 % of the networks
# is not missed.
SAMPLES = 1000


@dataclass(frozen=True)
class Entry:
    """Contribution of a part to the latency of a network.

    Args:
        ms: Latency in milliseconds.
        spread: Standard deviation of the latency, from the noise of the measurements.
        repeats: Number of timed runs of networks with this part.
    """

    ms: float
    spread: float
    repeats: int


@dataclass(frozen=True)
class Uncertainty:
    """The standard deviations of measured latencies around those of a table.

    Args:
        residual: Relative standard deviation of a measured network around the sum of its parts.
        shrink: Ratio of the standard deviation of such a sum's error to the one that independent errors of the parts
            would give.
        repeatability: Relative standard deviation of a network's latency between two passes at the same speed of the
            machine, noise included.
        speed_spread: Relative standard deviation of the machine's speed between rounds.
    """

    residual: float
    shrink: float
    repeatability: float
    speed_spread: float

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """Return the 95 % upper bound of a network's latency in a new measurement.

        Args:
            milliseconds: Sum of the latencies of its parts.
            variance: Sum of the variances of its parts.
            shared_std: Sum of the standard deviations of those errors that its parts share.
        """
        whole = self.residual**2 + self.repeatability**2 + self.speed_spread**2
        own = self.shrink**2 * variance + whole * milliseconds**2
        return milliseconds + UPPER_STDS * math.sqrt(own + shared_std**2)


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """Latencies of parts on one device.

    Args:
        workload: Configuration of the networks that were measured.
        device: The device and how it was used.
        uncertainty: Uncertainty of the table's predictions.
        entries: Entries by the key of the part.
        measurements: The networks that the entries were fitted to.
        held_out: Held-out networks that were measured beside them, to evaluate the predictions.
    """

    workload: WorkloadConfig
    device: Device
    uncertainty: Uncertainty
    entries: Mapping[str, Entry]
    measurements: tuple[Measurement, ...] = ()
    held_out: tuple[Measurement, ...] = ()

    @property
    def resolutions(self) -> tuple[Size, ...]:
        """Sizes of the measured images, in ascending order."""
        return _sizes(self.measurements, self.workload.input_size)

    def part_latency(self, part: Part, cost: PartCost) -> PartLatency:
        """Return the latency of a part.

        Raises:
            ValueError: If the part was not measured.
        """
        try:
            entry = self.entries[part.key]
        except KeyError:
            raise ValueError(f'latency table: the part "{part.key}" was not measured') from None
        return PartLatency(entry.ms, entry.spread)

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """See :meth:`Uncertainty.upper`."""
        return self.uncertainty.upper(milliseconds, variance, shared_std)

    def check_fits(self, workload: Workload) -> None:
        """Raise ValueError unless the table covers this space, backbone, input size and number of classes.

        A table also serves subspaces of its space. The smallest, the largest and random networks stand for the whole
        space.
        """
        self.check_setting(workload)
        for key in parts_of_space(workload):
            if key not in self.entries:
                raise ValueError(
                    f'latency table: lacks the part "{key}"; it was measured for another space or too few networks'
                )

    def check_setting(self, workload: Workload) -> None:
        """Raise ValueError unless space, backbone, input size and classes are the table's; parts are not checked."""
        ours, name = self.workload, type(workload.space).__name__
        if str(ours.space.get('type')).removeprefix('mmhybrid.') != name:
            raise ValueError(f'latency table: measured for {ours.space.get("type")}, not for {name}')
        wanted = workload.to_config()
        for name in ('backbone', 'input_size', 'num_classes'):
            there, here = getattr(ours, name), getattr(wanted, name)
            if plain(there) != plain(here):
                raise ValueError(f'latency table: measured with {name} {there!r}, not {here!r}')
        for one, other, text in (
            (ours, wanted, 'the backbone alone, not'),
            (wanted, ours, 'whole models, not the backbone of'),
        ):
            if one.around is None and other.around is not None:
                raise ValueError(f'latency table: measured for {text} {other.around.get("type")}; measure it anew')
        if ours.around is not None and (difference := first_difference(plain(ours.around), plain(wanted.around))):
            raise ValueError(f'latency table: measured for another model: {difference}')

    def build_workload(self) -> Workload:
        """Return the networks of the table's space; raise the ValueError of :meth:`WorkloadConfig.build`."""
        return self.workload.build('latency table')

    def warn_if_elsewhere(self) -> None:
        """Warn if the networks were measured on another machine."""
        self.device.warn_if_elsewhere('latency table')

    def save(self, path: str | Path) -> None:
        """Write the table as JSON. The file is written whole or not at all."""
        workload = {name: value for name, value in vars(self.workload).items() if name != 'around' or value is not None}
        content = {
            'format': FORMAT,
            **workload,
            'resolutions': self.resolutions,
            'device': asdict(self.device),
            **vars(self.uncertainty),
            'entries': {key: asdict(entry) for key, entry in self.entries.items()},
            'measurements': _listed(self.measurements),
            **({'held_out': _listed(self.held_out)} if self.held_out else {}),
        }
        write_json(path, content)

    @classmethod
    def load(cls, path: str | Path) -> 'LatencyTable':
        """Read a table that :meth:`save` wrote.

        Raises:
            ValueError: If the file does not exist or is not valid; the message names the field.
        """
        raw = read_json(path)
        if raw.get('format') != FORMAT:
            raise bad_value(f'{path}: format', raw.get('format'), f'{FORMAT}; measure the table anew')
        check_keys(f'{path}', raw, [name for name in FIELDS if name not in OPTIONAL], OPTIONAL)
        # Files of backbones lack the field, as do files of versions that knew only backbones.
        raw.setdefault('around', None)
        if raw['around'] is not None:
            check_class(f'{path}: around', raw['around'], Mapping)
        entries = raw['entries']
        if not isinstance(entries, Mapping) or not entries:
            raise bad_value(f'{path}: entries', entries, 'an object with an entry for each part')
        for name in ('space', 'backbone'):
            if not isinstance(raw[name], Mapping) or not isinstance(raw[name].get('type'), str):
                raise bad_value(f'{path}: {name}', raw[name], 'a config with a type, the name of a class')
        space = _known_space(f'{path}: space', raw['space'])
        for name in ('resolutions', 'measurements'):
            if not check_list(f'{path}: {name}', raw[name]):
                raise bad_value(f'{path}: {name}', raw[name], 'a list of at least one')
        if raw['num_classes'] is not None:
            check_int(f'{path}: num_classes', raw['num_classes'], 1, MOST_CLASSES)
        if raw['input_size'] is not None:
            _checked_size(f'{path}: input_size', raw['input_size'])
        measurements, held_out = (
            tuple(
                _measurement(f'{path}: {name}[{i}]', measurement, space)
                for i, measurement in enumerate(check_list(f'{path}: {name}', raw.get(name, [])))
            )
            for name in ('measurements', 'held_out')
        )
        sizes = tuple(_checked_size(f'{path}: resolutions', size) for size in raw['resolutions'])
        if sizes != _sizes(measurements, raw['input_size']):
            raise bad_value(f'{path}: resolutions', list(sizes), 'those of the measured networks, in order')
        figures = {name: check_float(f'{path}: {name}', raw[name], 0) for name in UNCERTAINTY}
        return cls(
            workload=WorkloadConfig(**{name: raw[name] for name in WORKLOAD}),
            device=Device.parse(f'{path}: device', raw['device']),
            uncertainty=Uncertainty(**figures),
            entries={key: Entry(*_figures(f'{path}: entries["{key}"]', entry)) for key, entry in entries.items()},
            measurements=measurements,
            held_out=held_out,
        )


# What a file may say: classes of a network, pixels of a side, runs that a latency is of.
MOST_CLASSES, MOST_SIDE, MOST_RUNS = 2**20, 2**16, 2**31 - 1
# The fields of a file, in this order.
WORKLOAD, UNCERTAINTY = (tuple(field.name for field in fields(of)) for of in (WorkloadConfig, Uncertainty))
FIELDS = ('format', *WORKLOAD, 'resolutions', 'device', *UNCERTAINTY, 'entries', 'measurements', 'held_out')
OPTIONAL = ('around', 'held_out')


def _listed(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    return [{**asdict(measurement), 'arch': dict(measurement.arch)} for measurement in measurements]


def _sizes(measurements: Sequence[Measurement], input_size: InputSize | None) -> tuple[Size, ...]:
    """Return the image sizes of measured networks in ascending order; with a fixed input size, only that one."""
    if input_size is not None:
        return (size_of(input_size) if isinstance(input_size, Sequence) else input_size,)
    return tuple(sorted({measurement.arch.get('resolution', 0) for measurement in measurements}))


def _checked_size(field: str, raw: object) -> Size:
    """Return a side, or the height and width of images that are not square; ValueError if it is neither."""
    if isinstance(raw, list):
        height, width = (check_int(field, side, 1, MOST_SIDE) for side in check_list(field, raw, 2))
        return height, width
    return check_int(field, raw, 1, MOST_SIDE)


def parts_of_space(workload: Workload) -> list[str]:
    """Return the keys of the parts of the smallest, the largest and random networks."""
    rng, space = random.Random(0), workload.space
    archs = (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(SAMPLES)))
    return list(dict.fromkeys(part.key for arch in archs for part in workload.list_parts(arch)))


def _known_space(name: str, raw: Mapping[str, Any]) -> SearchSpace | None:
    """Return the space, or None if its class is not known here; ``name`` begins the ValueError for wrong arguments."""
    known: type[SearchSpace] | None = registered_class(SEARCH_SPACES, raw['type'])
    try:
        return None if known is None else known.from_config(raw)
    except ValueError as error:
        raise ValueError(f'{name}: {error}') from error


def _measurement(name: str, raw: object, space: SearchSpace | None) -> Measurement:
    """Return a measurement from JSON; ValueError, beginning with ``name``, if it is not valid."""
    check_keys(name, raw, ('arch', 'ms', 'spread', 'repeats'))
    assert isinstance(raw, Mapping)
    if not isinstance(raw['arch'], Mapping):
        raise bad_value(f'{name}.arch', raw['arch'], 'a mapping of gene name to value')
    if space is not None:
        try:
            space.canonical(raw['arch'])
        except ValueError as error:
            raise ValueError(f'{name}.arch: {error}') from error
    return Measurement(raw['arch'], *_figures(name, {key: raw[key] for key in ('ms', 'spread', 'repeats')}))


def _figures(name: str, raw: object) -> tuple[float, float, int]:
    check_keys(name, raw, ('ms', 'spread', 'repeats'))
    assert isinstance(raw, Mapping)
    return (
        check_float(f'{name}.ms', raw['ms'], 0),
        check_float(f'{name}.spread', raw['spread'], 0),
        check_int(f'{name}.repeats', raw['repeats'], 1, MOST_RUNS),
    )
