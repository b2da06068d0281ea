"""Confidence intervals for the scores of the networks of a Pareto front, in a file that reports read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mmhybrid.utils.checks import bad_value, check_float, check_int, check_keys, check_list, check_name
from mmhybrid.utils.files import drop_link_outward, read_json, write_json

INTERVALS_FILE = 'intervals.json'


@dataclass(frozen=True)
class ScoreInterval:
    """The score of a network with its 95 % interval, and its lead over the next network of the front.

    Args:
        name: Name of the network.
        score: Score on all images.
        low: Lower end of the score's 95 % interval.
        high: Upper end of the score's 95 % interval.
        lead_low: Lower end of the 95 % interval of the lead in score over the next network on the same images; 0 for
            the last network.
        lead_high: Upper end of this interval; 0 for the last network.
    """

    name: str
    score: float
    low: float
    high: float
    lead_low: float = 0.0
    lead_high: float = 0.0

    @property
    def is_above_next(self) -> bool:
        """Whether the lead over the next network is above 0 with 95 % confidence, over samples of the images."""
        return self.lead_low > 0


@dataclass(frozen=True)
class FrontIntervals:
    """The intervals of a front, ordered from its best score to its cheapest network.

    Args:
        metric: Name of the score.
        num_images: Number of images on which the score was measured.
        draws: Number of bootstrap samples of these images.
        networks: Intervals in the order of the front.
    """

    metric: str
    num_images: int
    draws: int
    networks: Sequence[ScoreInterval]

    def told(self) -> list[str]:
        """Return a sentence about each network."""
        lines = []
        for place, network in enumerate(self.networks):
            line = f'{network.name}: {self.metric} {network.score:.3f}, from {network.low:.3f} to {network.high:.3f}'
            if place + 1 < len(self.networks):
                lead = f'({network.lead_low:+.3f} to {network.lead_high:+.3f})'
                verdict = 'above' if network.is_above_next else 'not significantly above'
                line += f'; {verdict} {self.networks[place + 1].name} {lead}'
            lines.append(line)
        return lines

    def write(self, folder: str | Path) -> Path:
        """Write ``intervals.json`` to a folder and return its path."""
        path = Path(folder, INTERVALS_FILE)
        drop_link_outward(path)
        write_json(path, asdict(self))
        return path

    @classmethod
    def read(cls, path: str | Path) -> 'FrontIntervals':
        """Read the file that :meth:`write` wrote.

        Raises:
            ValueError: If the file is not valid. The message names the file and what is wrong with it.
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
