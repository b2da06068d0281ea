"""Measured latencies of a space's parts, in a JSON file."""

import math
import random
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmhybrid.estimation.devices import Device
from mmhybrid.estimation.estimator import LatencyModel, PartCosts
from mmhybrid.estimation.operations import PartCost
from mmhybrid.estimation.parts import Part
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import SearchSpace
from mmhybrid.utils.checks import bad_value, check_float, check_int, check_keys, check_list
from mmhybrid.utils.files import plain, read_json, write_json

FORMAT = 1
# one-sided 95 % of a normal distribution
UPPER_DEVIATIONS = 1.645
# random networks whose parts are looked for in a table before it is used: a part that is in 1 % of them is not missed
SAMPLES = 1000


@dataclass(frozen=True)
class Entry:
    """What a part adds to the latency of a network.

    Args:
        ms: Milliseconds.
        spread: Their standard deviation: the noise of the measurements, carried through the fit.
        repeats: Timed runs of networks with this part.
    """

    ms: float
    spread: float
    repeats: int


@dataclass(frozen=True)
class Measurement:
    """One whole network.

    Args:
        arch: Its genes.
        ms: Median milliseconds of a batch.
        spread: Standard deviation of that median.
        repeats: Timed runs that were kept.
    """

    arch: Mapping[str, Any]
    ms: float
    spread: float
    repeats: int


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of parts on one device.

    Args:
        space: Config of the search space.
        backbone: Config of the backbone.
        input_size: Side of the image where the archs do not say it.
        num_classes: Classes of the classifier, None for none.
        resolutions: Sides of the image that were measured.
        device: Where and how it was measured.
        residual: Standard deviation of measured networks from the sum of their parts, over that sum.
        entries: By the key of the part.
        measurements: The networks behind the entries.
        fallback: What answers for parts without an entry, None for an error; what it answers is noted in ``filled``.
    """

    space: Mapping[str, Any]
    backbone: Mapping[str, Any]
    input_size: int | None
    num_classes: int | None
    resolutions: tuple[int, ...]
    device: Device
    residual: float
    entries: Mapping[str, Entry]
    measurements: tuple[Measurement, ...] = ()
    fallback: LatencyModel | None = None
    filled: set[str] = field(default_factory=set, compare=False)

    def part_latency(self, part: Part, cost: PartCost) -> tuple[float, float]:
        """Milliseconds of a part and their standard deviation.

        Raises:
            ValueError: If the part was not measured and there is no fallback.
        """
        entry = self.entries.get(part.key)
        if entry is not None:
            return entry.ms, entry.spread
        if self.fallback is None:
            raise ValueError(f'latency table: the part "{part.key}" was not measured')
        self.filled.add(part.key)
        return self.fallback.part_latency(part, cost)

    def upper(self, milliseconds: float, variance: float) -> float:
        """What a network stays below with 95 % probability.

        Args:
            milliseconds: Sum of its parts.
            variance: Sum of the squared deviations of its parts. The fit's errors of different parts mostly cancel,
                so this bound is a careful one.
        """
        return milliseconds + UPPER_DEVIATIONS * math.sqrt(variance + (self.residual * milliseconds) ** 2)

    def with_fallback(self, fallback: LatencyModel) -> 'LatencyTable':
        """The same table, with ``fallback`` answering for the parts it lacks."""
        return replace(self, fallback=fallback, filled=set())

    def check_fits(self, space: SearchSpace, backbone: Mapping[str, Any], **setting: int | None) -> None:
        """Raise ValueError unless the table is one of this space, backbone, input size and number of classes.

        A table serves the parts of its space too. The smallest, the largest and random networks stand for the whole;
        with a fallback none of their parts is missing.
        """
        wanted = {'backbone': dict(backbone), **setting}
        for name, value in wanted.items():
            if plain(getattr(self, name)) != plain(value):
                raise ValueError(f'latency table: measured with {name} {getattr(self, name)!r}, not {value!r}')
        name = type(space).__name__
        if str(self.space.get('type')).removeprefix('mmhybrid.') != name:
            raise ValueError(f'latency table: measured for {self.space.get("type")}, not for {name}')
        if self.fallback is not None:
            return
        costs, rng = PartCosts(space, backbone, self.input_size, self.num_classes), random.Random(0)
        for arch in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(SAMPLES))):
            for part in costs.list_parts(arch):
                if part.key not in self.entries:
                    raise ValueError(
                        f'latency table: measured for another space or with too few networks, '
                        f'it lacks the part "{part.key}"'
                    )

    def warn_if_elsewhere(self) -> None:
        """Warn if this machine is not the one that was measured."""
        for name, (there, here) in self.device.differences().items():
            warnings.warn(f'latency table: measured with {name} {there!r}, here it is {here!r}', stacklevel=2)

    def save(self, path: str | Path) -> None:
        """Write the table as JSON, whole or not at all."""
        content = {name: value for name, value in vars(self).items() if name not in ('fallback', 'filled')}
        content['device'] = asdict(self.device)
        content['entries'] = {key: asdict(entry) for key, entry in self.entries.items()}
        content['measurements'] = [{**asdict(m), 'arch': dict(m.arch)} for m in self.measurements]
        write_json(path, {'format': FORMAT, **content})

    @classmethod
    def load(cls, path: str | Path) -> 'LatencyTable':
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: If there is no such file, or saying what is wrong with it.
        """
        raw = read_json(path)
        check_keys(f'{path}', raw, ('format', *_FIELDS))
        if raw['format'] != FORMAT:
            raise bad_value(f'{path}: format', raw['format'], str(FORMAT))
        entries = raw['entries']
        if not isinstance(entries, Mapping) or not entries:
            raise bad_value(f'{path}: entries', entries, 'an object with an entry for each part')
        for name in ('space', 'backbone'):
            if not isinstance(raw[name], Mapping) or not isinstance(raw[name].get('type'), str):
                raise bad_value(f'{path}: {name}', raw[name], 'a config with a type, the name of a class')
        _check_space(f'{path}: space', raw['space'])
        for name in ('resolutions', 'measurements'):
            if not check_list(f'{path}: {name}', raw[name]):
                raise bad_value(f'{path}: {name}', raw[name], 'a list of at least one')
        for name in ('input_size', 'num_classes'):
            if raw[name] is not None:
                check_int(f'{path}: {name}', raw[name], 1)
        return cls(
            space=raw['space'],
            backbone=raw['backbone'],
            input_size=raw['input_size'],
            num_classes=raw['num_classes'],
            resolutions=tuple(check_int(f'{path}: resolutions', side, 1) for side in raw['resolutions']),
            device=Device.parse(f'{path}: device', raw['device']),
            residual=check_float(f'{path}: residual', raw['residual'], 0),
            entries={key: Entry(*_figures(f'{path}: entries["{key}"]', entry)) for key, entry in entries.items()},
            measurements=tuple(
                _measurement(f'{path}: measurements[{i}]', measurement)
                for i, measurement in enumerate(raw['measurements'])
            ),
        )


_FIELDS = (
    'space',
    'backbone',
    'input_size',
    'num_classes',
    'resolutions',
    'device',
    'residual',
    'entries',
    'measurements',
)


def _check_space(name: str, raw: Mapping[str, Any]) -> None:
    """Raise ValueError, ``name`` in front, for wrong arguments of a space whose class is known here."""
    SEARCH_SPACES.import_from_location()
    space = SEARCH_SPACES.module_dict.get(raw['type'].removeprefix('mmhybrid.'))
    if space is not None:
        try:
            space.from_config(raw)
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error


def _measurement(name: str, raw: object) -> Measurement:
    """A measurement from JSON; ValueError saying what is wrong with it, ``name`` in front."""
    check_keys(name, raw, ('arch', 'ms', 'spread', 'repeats'))
    assert isinstance(raw, Mapping)
    if not isinstance(raw['arch'], Mapping):
        raise bad_value(f'{name}.arch', raw['arch'], 'a mapping of gene name to value')
    return Measurement(raw['arch'], *_figures(name, {key: raw[key] for key in ('ms', 'spread', 'repeats')}))


def _figures(name: str, raw: object) -> tuple[float, float, int]:
    check_keys(name, raw, ('ms', 'spread', 'repeats'))
    assert isinstance(raw, Mapping)
    return (
        check_float(f'{name}.ms', raw['ms'], 0),
        check_float(f'{name}.spread', raw['spread'], 0),
        check_int(f'{name}.repeats', raw['repeats'], 1),
    )
