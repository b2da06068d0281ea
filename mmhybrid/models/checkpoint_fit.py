"""Checks that weights fit a network, since MMEngine loads the tensors that fit and continues even if none does."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmhybrid.models.checkpoints import read_checkpoint, weights_of
from mmhybrid.utils.errors import few, printable, shortened

# Largest length, in characters, of a warning about a partial fit, which is enough for some hundred names.
MOST_TOLD = 20_000
# Largest number of parts in a prefix, since a name in a file may have a million parts.
MOST_PARTS = 10


def check_fit(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Check that at least one tensor of ``weights`` fits ``module``, and log what a partial fit leaves out.

    A tensor fits if it has the name and, except for axes of length 1, the shape of one of the module's.

    Args:
        module: Model, or a part of one.
        weights: Weights of a checkpoint, without the prefix that loading removes.
        source: Name of the weights in messages.

    Raises:
        ValueError: If no tensor fits.
    """
    own = module.state_dict()
    shared = {name for name in own.keys() & weights.keys() if isinstance(weights[name], Tensor)}
    if own and not any(_size(own[name]) == _size(weights[name]) for name in shared):
        kind = type(module).__name__
        problem = f'{source} fits nothing of {kind}: it has {few(weights)}, {kind} has {few(own)}'
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
        logger.warning(_told(f'{source} fits in part: {type(module).__name__} keeps its own {", ".join(kept)}'))
    if surplus := sorted(weights.keys() - shared):
        logger.warning(_told(f'{source} fits in part: the file has {", ".join(surplus)} besides'))


def check_pretrained(module: nn.Module) -> None:
    """Raise ValueError if ``init_cfg`` of ``module`` names a checkpoint of which no tensor fits the module."""
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
                raise ValueError(f'{source} has no name that begins with the prefix {prefix!r}; it has {few(weights)}')
            weights, source = inside, f'{source} behind {prefix!r}'
        check_fit(module, weights, source)


def _told(sentence: str) -> str:
    """Return the sentence shortened and safe for a terminal, since names in files may contain anything."""
    return printable(shortened(sentence, MOST_TOLD))


def _size(tensor: Any) -> tuple[int, ...]:
    return tuple(size for size in getattr(tensor, 'shape', ()) if size != 1)


def _likely_prefix(longer: Iterable[str], shorter: Iterable[str]) -> str:
    """Return the prefix that most often separates a name in ``longer`` from one in ``shorter``; '' if there is none."""
    ends = set(shorter)
    prefixes: Counter[str] = Counter()
    for name in longer:
        dots = [found.end() for found in islice(re.finditer(r'\.', name), MOST_PARTS)]
        prefixes.update(name[:dot] for dot in dots if name[dot:] in ends)
    return prefixes.most_common(1)[0][0] if prefixes else ''
