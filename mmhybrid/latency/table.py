"""Measured latencies of a space's parts, in a JSON file."""

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmhybrid.counting.estimator import UPPER_STDS, PartLatency
from mmhybrid.counting.operations import PartCost
from mmhybrid.counting.part_counter import InputSize, PartCounter
from mmhybrid.latency.devices import Device
from mmhybrid.models.parts import Part
from mmhybrid.registry import MODELS, SEARCH_SPACES, build_from_data, check_data, registered_class
from mmhybrid.space import SearchSpace
from mmhybrid.utils.checks import bad_value, check_float, check_int, check_keys, check_list
from mmhybrid.utils.files import plain, read_json, write_json

FORMAT = 4
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
        shrink: Standard deviation of the error of such a sum, over what it were with independent errors of the parts.
        repeatability: Relative standard deviation of a network's latency from one measuring to another, noise included,
            at the same speed of the machine.
        speed_spread: Relative standard deviation of the machine's speed from one round of measuring to another.
        entries: By the key of the part.
        measurements: The networks behind the entries.
    """

    space: Mapping[str, Any]
    backbone: Mapping[str, Any]
    input_size: int | None
    num_classes: int | None
    resolutions: tuple[int, ...]
    device: Device
    residual: float
    shrink: float
    repeatability: float
    speed_spread: float
    entries: Mapping[str, Entry]
    measurements: tuple[Measurement, ...] = ()

    def part_latency(self, part: Part, cost: PartCost) -> PartLatency:
        """Latency of a part.

        Raises:
            ValueError: If the part was not measured.
        """
        try:
            entry = self.entries[part.key]
        except KeyError:
            raise ValueError(f'latency table: the part "{part.key}" was not measured') from None
        return PartLatency(entry.ms, entry.spread)

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """What a network that is measured another time stays below with 95 % probability, as far as the table tells.

        Args:
            milliseconds: Sum of its parts.
            variance: Sum of the squared deviations of its parts.
            shared_std: Sum of what their errors have in common.
        """
        whole = self.residual**2 + self.repeatability**2 + self.speed_spread**2
        own = self.shrink**2 * variance + whole * milliseconds**2
        return milliseconds + UPPER_STDS * math.sqrt(own + shared_std**2)

    def check_fits(
        self, space: SearchSpace, backbone: Mapping[str, Any], input_size: InputSize | None, num_classes: int | None
    ) -> None:
        """Raise ValueError unless the table is one of this space, backbone, input size and number of classes.

        A table serves the parts of its space too. The smallest, the largest and random networks stand for the whole.
        """
        self.check_setting(space, backbone, input_size, num_classes)
        for key in parts_of_space(PartCounter(space, backbone, input_size, num_classes)):
            if key not in self.entries:
                raise ValueError(
                    f'latency table: measured for another space or with too few networks, it lacks the part "{key}"'
                )

    def check_setting(
        self, space: SearchSpace, backbone: Mapping[str, Any], input_size: InputSize | None, num_classes: int | None
    ) -> None:
        """Raise ValueError unless space, backbone, input size and classes are the table's; parts are not looked for."""
        wanted = {'backbone': dict(backbone), 'input_size': input_size, 'num_classes': num_classes}
        name = type(space).__name__
        if str(self.space.get('type')).removeprefix('mmhybrid.') != name:
            raise ValueError(f'latency table: measured for {self.space.get("type")}, not for {name}')
        for name, value in wanted.items():
            if plain(getattr(self, name)) != plain(value):
                raise ValueError(f'latency table: measured with {name} {getattr(self, name)!r}, not {value!r}')

    def part_counter(self) -> PartCounter:
        """Costs of the parts of the table's space, of registered classes only: a table is data.

        Raises:
            ValueError: If the space or the backbone is no registered class, or does not take its arguments.
        """
        space: SearchSpace = build_from_data(SEARCH_SPACES, 'latency table: space', self.space)
        backbone = check_data(MODELS, 'latency table: backbone', self.backbone)
        return PartCounter(space, backbone, self.input_size, self.num_classes)

    def warn_if_elsewhere(self) -> None:
        """Warn if this machine is not the one that was measured."""
        self.device.warn_if_elsewhere('latency table')

    def save(self, path: str | Path) -> None:
        """Write the table as JSON, whole or not at all."""
        content = dict(vars(self))
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
        if raw.get('format') != FORMAT:
            raise bad_value(f'{path}: format', raw.get('format'), f'{FORMAT}; measure the table anew')
        check_keys(f'{path}', raw, ('format', *(field.name for field in fields(cls))))
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
        for name in ('input_size', 'num_classes'):
            if raw[name] is not None:
                check_int(f'{path}: {name}', raw[name], 1)
        measurements = tuple(
            _measurement(f'{path}: measurements[{i}]', measurement, space)
            for i, measurement in enumerate(raw['measurements'])
        )
        sides = [check_int(f'{path}: resolutions', side, 1) for side in raw['resolutions']]
        if sides != sorted({m.arch.get('resolution', raw['input_size']) for m in measurements}):
            raise bad_value(f'{path}: resolutions', sides, 'those of the measured networks, in order')
        return cls(
            space=raw['space'],
            backbone=raw['backbone'],
            input_size=raw['input_size'],
            num_classes=raw['num_classes'],
            resolutions=tuple(sides),
            device=Device.parse(f'{path}: device', raw['device']),
            residual=check_float(f'{path}: residual', raw['residual'], 0),
            shrink=check_float(f'{path}: shrink', raw['shrink'], 0),
            repeatability=check_float(f'{path}: repeatability', raw['repeatability'], 0),
            speed_spread=check_float(f'{path}: speed_spread', raw['speed_spread'], 0),
            entries={key: Entry(*_figures(f'{path}: entries["{key}"]', entry)) for key, entry in entries.items()},
            measurements=measurements,
        )


def parts_of_space(costs: PartCounter) -> list[str]:
    """Keys of the parts of the smallest, the largest and random networks."""
    rng, space = random.Random(0), costs.space
    archs = (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(SAMPLES)))
    return list(dict.fromkeys(part.key for arch in archs for part in costs.list_parts(arch)))


def _known_space(name: str, raw: Mapping[str, Any]) -> SearchSpace | None:
    """The space, None where its class is not known here; ValueError, ``name`` in front, for wrong arguments."""
    known: type[SearchSpace] | None = registered_class(SEARCH_SPACES, raw['type'])
    try:
        return None if known is None else known.from_config(raw)
    except ValueError as error:
        raise ValueError(f'{name}: {error}') from error


def _measurement(name: str, raw: object, space: SearchSpace | None) -> Measurement:
    """A measurement from JSON; ValueError saying what is wrong with it, ``name`` in front."""
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
        check_int(f'{name}.repeats', raw['repeats'], 1),
    )
