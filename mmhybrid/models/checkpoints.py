"""Checkpoints of MMEngine and of its hosts, read with ``weights_only=True``."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mmengine.runner import CheckpointLoader


def read_checkpoint(path: str) -> dict[str, Any]:
    """The content of a local file or URL, on the CPU; ValueError for a missing or unreadable one."""
    if '://' not in path and not Path(path).is_file():
        raise ValueError(f'checkpoint {path} does not exist')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except (UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError) as error:
        raise ValueError(f'{path} is not a checkpoint that can be read: {first_line(error)}') from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} is not a checkpoint: it holds a {type(checkpoint).__name__}')
    return checkpoint


def first_line(error: Exception) -> str:
    """Of what an error says; its class where it says nothing."""
    text = str(error.args[0] if error.args and isinstance(error.args[0], str) else error)
    return next(iter(text.strip().splitlines()), type(error).__name__)
