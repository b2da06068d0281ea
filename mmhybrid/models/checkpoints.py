"""Checkpoints of MMEngine and of its hosts, read with ``weights_only=True`` and written whole."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader
from torch import nn

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


def check_fit(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Raise ValueError if ``weights`` have no tensor for ``module``; log what a partial fit leaves out.

    A tensor fits by its name and, but for axes of one, its shape. MMEngine itself loads nothing and goes on.

    Args:
        module: A model, or a part of one.
        weights: Of a checkpoint, without the prefix that loading takes off.
        source: What the message calls them.
    """
    own = module.state_dict()
    shared = own.keys() & weights.keys()
    if own and not any(_size(own[name]) == _size(weights[name]) for name in shared):
        kind = type(module).__name__
        problem = f'{source} fits nothing of {kind}: it has {_few(weights)}, {kind} has {_few(own)}'
        if shared:
            name = min(shared)
            problem += f'; {name} has {_size(weights[name])} values in the one and {_size(own[name])} in the other'
        elif prefix := _likely_prefix(weights, own):
            problem += f'; the names in the file begin with {prefix!r} where those of {kind} do not'
        elif prefix := _likely_prefix(own, weights):
            problem += f'; the names of {kind} begin with {prefix!r} where those in the file do not'
        raise ValueError(problem)
    logger = MMLogger.get_current_instance()
    if kept := sorted(own.keys() - shared):
        logger.warning(f'{source} fits in part: {type(module).__name__} keeps its own {", ".join(kept)}')
    if surplus := sorted(weights.keys() - shared):
        logger.warning(f'{source} fits in part: the file has {", ".join(surplus)} besides')


def check_pretrained(module: nn.Module) -> None:
    """Raise ValueError if a checkpoint that the ``init_cfg`` of ``module`` names has nothing for it."""
    configs = getattr(module, 'init_cfg', None) or ()
    for cfg in (configs,) if isinstance(configs, Mapping) else configs:
        if cfg.get('type') not in ('Pretrained', 'PretrainedInit') or not isinstance(cfg.get('checkpoint'), str):
            continue
        weights = weights_of(read_checkpoint(cfg['checkpoint']))
        source = f'init_cfg: {cfg["checkpoint"]}'
        if cfg.get('prefix') is not None:
            prefix = cfg['prefix'].removesuffix('.') + '.'
            inside = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            if not inside:
                raise ValueError(f'{source} has no name that begins with the prefix {prefix!r}; it has {_few(weights)}')
            weights, source = inside, f'{source} behind {prefix!r}'
        check_fit(module, weights, source)


def weights_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a checkpoint, or of a file that holds nothing else, without a leading ``module.``."""
    weights = checkpoint.get('state_dict', checkpoint)
    return {name.removeprefix('module.'): weight for name, weight in weights.items()}


def _size(tensor: Any) -> tuple[int, ...]:
    return tuple(size for size in getattr(tensor, 'shape', ()) if size != 1)


def _few(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ', '.join(names[:count]) + (f' and {len(names) - count} more' if len(names) > count else '')


def _likely_prefix(longer: Iterable[str], shorter: Iterable[str]) -> str:
    """What most of the names in ``longer`` have in front of a name in ``shorter``; '' if none has any."""
    ends = set(shorter)
    prefixes: Counter[str] = Counter()
    for name in longer:
        dots = [i + 1 for i, letter in enumerate(name) if letter == '.']
        prefixes.update(name[:dot] for dot in dots if name[dot:] in ends)
    return prefixes.most_common(1)[0][0] if prefixes else ''


def write_checkpoint(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; its folder is made where there is none."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_whole(path, content.getvalue())
