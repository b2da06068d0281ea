"""The file from which an interrupted profile continues."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmhybrid.latency.rounds import Rounds
from mmhybrid.utils.checks import check_keys
from mmhybrid.utils.files import drop_link_outward, first_difference, is_special, read_json, write_json


class Partial:
    """The rounds of a table that is being measured, in a file beside it with the suffix ``.partial``.

    Args:
        out: Path of the table; nothing is kept if it is a device or a pipe.
        setting: Setting that the rounds belong to, as plain JSON.
    """

    def __init__(self, out: str | Path, setting: Mapping[str, Any]) -> None:
        self.path = Path(f'{out}.partial')
        self.setting = setting
        self.out = out

    def read_into(self, passes: Mapping[str, Rounds], repeats: int) -> None:
        """Copy the rounds of the file into ``passes``, if there is a file.

        Raises:
            ValueError: If the file is not valid, is of another setting, or has more than ``repeats`` rounds of a group.
        """
        if not self.path.exists():
            return
        raw = read_json(self.path)
        check_keys(f'{self.path}', raw, ('setting', *passes))
        if difference := first_difference(raw['setting'], self.setting):
            raise ValueError(f'{self.path}: begun with another setting; remove it to begin anew: {difference}')
        for name, rounds in passes.items():
            rounds.restore(f'{self.path}: {name}', raw[name], repeats)

    def write(self, passes: Mapping[str, Rounds]) -> None:
        """Write the rounds. The file is written whole or not at all."""
        if not is_special(self.out):
            drop_link_outward(self.path)
            write_json(self.path, {'setting': self.setting, **{name: r.to_json() for name, r in passes.items()}})

    def remove(self) -> None:
        """Remove the file, once the table is written."""
        self.path.unlink(missing_ok=True)
