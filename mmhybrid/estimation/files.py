"""JSON files written whole or not at all."""

import json
from pathlib import Path
from typing import Any

from mmhybrid.utils.files import write_whole


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content``; an interrupted write leaves the old file.

    Raises:
        ValueError: If the folder does not exist.
    """
    write_whole(path, f'{json.dumps(content, indent=1)}\n'.encode())


def plain(content: Any) -> Any:
    """``content`` as it comes back from a JSON file: tuples are lists there."""
    return json.loads(json.dumps(content))


def check_target(path: str | Path) -> None:
    """Before long work: raise ValueError if no file can be written to ``path``."""
    if not Path(path).resolve().parent.is_dir():
        raise ValueError(f'{path}: its folder does not exist')
    if Path(path).is_dir():
        raise ValueError(f'{path}: a folder, not a file')


def read_json(path: str | Path) -> dict[str, Any]:
    """The object that a file holds.

    Raises:
        ValueError: If the file does not exist, or is no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'{path} does not exist')
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f'{path}: not JSON, perhaps truncated ({error})') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path}: not a JSON object')
    return content
