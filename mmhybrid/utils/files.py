"""Files written whole or not at all."""

import os
from pathlib import Path


def write_whole(path: str | Path, content: bytes) -> None:
    """Write ``content``; an interrupted write leaves the old file.

    Raises:
        ValueError: If the folder does not exist.
    """
    path = Path(path)
    if not path.resolve().parent.is_dir():
        raise ValueError(f'{path}: its folder does not exist')
    part = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        with open(part, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
