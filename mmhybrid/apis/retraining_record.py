"""Retrained networks, and the record of them in a file."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmhybrid.search import Objective
from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value, check_class, check_keys, check_name
from mmhybrid.utils.files import drop_link_outward, first_difference, read_json, write_json

RECORD_FILE = 'networks.json'
# Fields with paths relative to the folder of the record, so that the folder may be moved.
PATHS = ('config', 'checkpoint')


@dataclass(frozen=True)
class Retrained:
    """A network with its score in the supernet and its score after training.

    Args:
        name: Name of its folder.
        arch: The network.
        supernet_score: Score that the search recorded; NaN (None in files) if there was no search.
        retrained_score: Score of its last checkpoint on the validation images of its config.
        config: Config file that it was trained with.
        checkpoint: Checkpoint file.
    """

    name: str
    arch: Arch
    supernet_score: float
    retrained_score: float
    config: str
    checkpoint: str

    def described(self) -> dict[str, Any]:
        """Return the network as plain JSON."""
        score = None if math.isnan(self.supernet_score) else self.supernet_score
        return {**asdict(self), 'arch': dict(self.arch), 'supernet_score': score}


def best_of(networks: Sequence[Retrained], objective: Objective) -> Retrained:
    """Return the network that is best after training, the first of equal ones. NaN is the worst score."""
    return min(
        networks, key=lambda network: (math.isnan(network.retrained_score), objective.sign * network.retrained_score)
    )


class RetrainingRecord:
    """Keeps a file of the trained networks of a folder, with the settings that they were trained with.

    Args:
        folder: Folder of the file; :meth:`read` creates it if it does not exist.
        settings: Settings of the trainings, as JSON.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        # in the form in which they are read back
        self.settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))

    def read(self) -> dict[Arch, Retrained]:
        """Return the networks so far; an empty record is written if there is none.

        Raises:
            ValueError: If the record is damaged or of other settings.
        """
        path = self.folder / RECORD_FILE
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.write({})
        content = read_json(path)
        check_keys(str(path), content, ('settings', 'networks'))
        if difference := first_difference(content['settings'], self.settings):
            raise ValueError(
                f'{path}: networks were retrained with other settings, choose another folder: {difference}'
            )
        try:
            return dict(map(self._read_network, content['networks']))
        except (TypeError, KeyError) as error:
            raise ValueError(f'{path}: not a record of retrained networks ({error})') from error

    def _read_network(self, network: Mapping[str, Any]) -> tuple[Arch, Retrained]:
        arch = Arch(network['arch'])
        check_name('name', network['name'])
        for key in PATHS:
            check_class(key, network[key], str)
        for key in ('supernet_score', 'retrained_score'):
            if type(network[key]) not in (int, float) and (network[key] is not None or key == 'retrained_score'):
                raise bad_value(key, network[key], 'a number')
        paths = {key: str(self.folder / network[key]) for key in PATHS}
        score = math.nan if network['supernet_score'] is None else network['supernet_score']
        return arch, Retrained(**{**network, **paths, 'arch': arch, 'supernet_score': score})

    def write(self, record: Mapping[Arch, Retrained]) -> None:
        """Write all networks. The file is written whole or not at all."""
        networks = [network.described() for network in record.values()]
        for network in networks:
            network |= {key: os.path.relpath(network[key], self.folder) for key in PATHS}
        drop_link_outward(self.folder / RECORD_FILE)
        write_json(self.folder / RECORD_FILE, {'settings': self.settings, 'networks': networks})
