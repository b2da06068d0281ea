"""What an interrupted profile continues from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmhybrid.latency.rounds import Rounds
from mmhybrid.utils.checks import check_keys
from mmhybrid.utils.files import drop_link_outward, first_difference, is_special, read_json, write_json


class Partial:
    """The rounds of a table that is being measured, in a file beside it: its name with ``.partial`` behind.

    Args:
        out: Where the table is going to be; nothing is kept beside a device or a pipe.
        setting: What the rounds belong to, plain JSON.
    """

    def __init__(self, out: str | Path, setting: Mapping[str, Any]) -> None:
        self.path = Path(f'{out}.partial')
        self.setting = setting
        self.out = out

    def read_into(self, passes: Mapping[str, Rounds], repeats: int) -> None:
        """Let ``passes`` have the rounds that are in the file, if there is one.

        Raises:
            ValueError: If the file is broken, of another setting, or has more than ``repeats`` rounds of a group.
        """
        if not self.path.exists():
            return
        raw = read_json(self.path)
        check_keys(f'{self.path}', raw, ('setting', *passes))
        if difference := first_difference(raw['setting'], self.setting):
            raise ValueError(f'{self.path}: begun otherwise, remove it to begin anew: {difference}')
        for name, rounds in passes.items():
            rounds.restore(f'{self.path}: {name}', raw[name], repeats)

    def write(self, passes: Mapping[str, Rounds]) -> None:
        """Write the rounds, whole or not at all."""
        if not is_special(self.out):
            drop_link_outward(self.path)
            write_json(self.path, {'setting': self.setting, **{name: r.to_json() for name, r in passes.items()}})

    def remove(self) -> None:
        """Remove the file: the table is written."""
        self.path.unlink(missing_ok=True)
