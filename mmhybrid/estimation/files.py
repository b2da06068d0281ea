"""JSON files written whole or not at all."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content``; an interrupted write leaves the old file.

    Raises:
        ValueError: If the folder does not exist.
    """
    path = Path(path)
    if not path.resolve().parent.is_dir():
        raise ValueError(f'{path}: its folder does not exist')
    with tempfile.NamedTemporaryFile('w', dir=path.parent, prefix=f'.{path.name}.', delete=False) as file:
        json.dump(content, file, indent=1)
        file.write('\n')
    os.replace(file.name, path)


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
