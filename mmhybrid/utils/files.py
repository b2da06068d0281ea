"""Files written whole or not at all, and JSON in them."""

import json
import os
from pathlib import Path
from typing import Any

# Characters of a value in a sentence.
LONGEST = 200


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write ``content``; an interrupted write leaves the old file, and a failed one nothing of its own.

    Raises:
        ValueError: If the folder does not exist.
    """
    check_target(path)
    path = Path(path)
    part = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        with open(part, 'wb') as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any, indent: int = 1) -> None:
    """Write ``content`` as JSON, whole or not at all.

    Raises:
        ValueError: If the folder does not exist.
    """
    write_whole(path, f'{json.dumps(content, indent=indent)}\n')


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


def plain(content: Any) -> Any:
    """``content`` as it comes back from a JSON file, where tuples are lists and keys are strings."""
    return json.loads(json.dumps(content))


def first_difference(stored: object, now: object, path: str = '') -> str:
    """Where two pieces of JSON differ first, in words; empty if nowhere."""
    if isinstance(stored, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*stored, *now]):
            place = f'{path}.{name}' if path else name
            if difference := first_difference(stored.get(name), now.get(name), place):
                return difference
        return ''
    if isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
        pairs = enumerate(zip(stored, now, strict=True))
        return next((text for i, (a, b) in pairs if (text := first_difference(a, b, f'{path}[{i}]'))), '')
    return '' if stored == now else f'{path} was {_few_words(stored)}, now {_few_words(now)}'


def _few_words(content: object) -> str:
    """JSON that is short enough for a sentence."""
    text = json.dumps(content)
    if len(text) <= LONGEST:
        return text
    return f'a list of {len(content)}' if isinstance(content, list) else f'{text[:LONGEST]} ...'
