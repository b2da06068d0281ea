"""How far the scores of a front's networks may be trusted, in a file that reports read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mmhybrid.utils.checks import bad_value, check_float, check_int, check_keys, check_list, check_name
from mmhybrid.utils.files import drop_link_outward, read_json, write_json

INTERVALS_FILE = 'intervals.json'


@dataclass(frozen=True)
class ScoreInterval:
    """A network's score with its 95 % interval, and how far it is above the next network of the front.

    Args:
        name: Of the network.
        score: On all images.
        low: Of the interval.
        high: Of the interval.
        lead_low: Of the interval of the difference to the next network, on the same images; 0 of the last.
        lead_high: The other end.
    """

    name: str
    score: float
    low: float
    high: float
    lead_low: float = 0.0
    lead_high: float = 0.0

    @property
    def is_above_next(self) -> bool:
        """Whether the difference to the next network is no chance of the images, with 95 % confidence."""
        return self.lead_low > 0


@dataclass(frozen=True)
class FrontIntervals:
    """The intervals of a front, from its best score to its cheapest network.

    Args:
        metric: The score.
        num_images: That it was measured on.
        draws: Samples of these, with replacement.
        networks: In the order of the front.
    """

    metric: str
    num_images: int
    draws: int
    networks: Sequence[ScoreInterval]

    def told(self) -> list[str]:
        """A sentence for each network."""
        lines = []
        for place, network in enumerate(self.networks):
            line = f'{network.name}: {self.metric} {network.score:.3f}, from {network.low:.3f} to {network.high:.3f}'
            if place + 1 < len(self.networks):
                lead = f'({network.lead_low:+.3f} to {network.lead_high:+.3f})'
                verdict = 'above' if network.is_above_next else 'not to be told apart from'
                line += f'; {verdict} {self.networks[place + 1].name} {lead}'
            lines.append(line)
        return lines

    def write(self, folder: str | Path) -> Path:
        """Write ``intervals.json``."""
        path = Path(folder, INTERVALS_FILE)
        drop_link_outward(path)
        write_json(path, asdict(self))
        return path

    @classmethod
    def read(cls, path: str | Path) -> 'FrontIntervals':
        """What :meth:`write` wrote.

        Raises:
            ValueError: Naming the file and what is wrong with it.
        """
        content = read_json(path)
        check_keys(f'{path}', content, tuple(field.name for field in fields(cls)))
        if not isinstance(content['metric'], str) or not content['metric'].isprintable():
            raise bad_value(f'{path}: metric', content['metric'], 'the name of a score')
        numbers = [field.name for field in fields(ScoreInterval) if field.name != 'name']
        networks = []
        for place, raw in enumerate(check_list(f'{path}: networks', content['networks'])):
            here = f'{path}: networks[{place}]'
            if not isinstance(raw, dict):
                raise bad_value(here, raw, 'an object')
            check_keys(here, raw, ('name', *numbers))
            check_name(f'{here}.name', raw['name'])
            networks.append(
                ScoreInterval(raw['name'], *(check_float(f'{here}.{name}', raw[name], -1, 1) for name in numbers))
            )
        num_images, draws = (check_int(f'{path}: {name}', content[name], 1) for name in ('num_images', 'draws'))
        return cls(content['metric'], num_images, draws, networks)
