"""Checkpoints of MMEngine and of its hosts, read with ``weights_only=True`` and written whole."""

import io
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmengine.runner import CheckpointLoader

from mmhybrid.utils.errors import first_line
from mmhybrid.utils.files import write_whole


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


def plain_weights(path: str) -> dict[str, Any]:
    """The weights as trained, out of a checkpoint that MMEngine's ``EMAHook`` saved.

    The hook saves averaged weights under that name, and those that were trained under ``ema_state_dict``.

    Returns:
        ``state_dict`` and ``meta``, as the weights of a checkpoint without that hook are named.

    Raises:
        ValueError: If the file cannot be read, or was saved without that hook.
    """
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint.get('ema_state_dict'), Mapping):
        raise ValueError(f'{path} has no averaged weights beside its plain ones: no entry ema_state_dict')
    prefix = 'module.'  # of the averaged model, whose other entries count its steps
    weights = checkpoint['ema_state_dict'].items()
    state_dict = {name.removeprefix(prefix): weight for name, weight in weights if name.startswith(prefix)}
    return {'meta': checkpoint.get('meta', {}), 'state_dict': state_dict}


def write_checkpoint(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; its folder is made where there is none."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_whole(path, content.getvalue())
