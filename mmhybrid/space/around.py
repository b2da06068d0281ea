"""Search spaces around a network, their largest member: each gene takes the network's value or a smaller one.

The lists of values follow from the network alone. Counts (blocks, heads) go down to half of the network's count. Ratios
and kernels take one half and three quarters of the network's value. Channels between blocks have no order of
importance, so widths keep the network's value unless a list names smaller ones.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmhybrid.archs.base import NetworkArch
from mmhybrid.space.arch import Value
from mmhybrid.space.base import SearchSpace
from mmhybrid.space.found import Found, read_found
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import read_json

SHARES = (0.5, 0.75)
SMALLEST_KERNEL = 3


def read_network(space: type[SearchSpace], around: object) -> Any:
    """Return the architecture of the network around which a space is built.

    Args:
        space: Class of the spaces of the network's family.
        around: Name of a preset of the family, an ``arch`` as the backbone takes it, a JSON file with such an ``arch``,
            or a file that a search or a retraining wrote (see :func:`read_found`).

    Raises:
        ValueError: If ``around`` is none of these, or describes a network of another family.
    """
    assert space.arch_class is not None
    try:
        is_file = isinstance(around, str) and ('.json' in around or '.csv' in around)
        return space.arch_class.parse(_from_file(space, str(around)) if is_file else around)
    except ValueError as error:
        raise ValueError(f'around: {error}') from error


def check_largest(space: SearchSpace, network: NetworkArch) -> None:
    """Raise ValueError unless a network is in a space, and assert that it is the largest network there."""
    try:
        genes = space.encode(network)
    except ValueError as error:
        raise ValueError(f'around: {error}') from error
    assert genes == space.largest(), f'{genes} is not the largest'


def own_and_less(own: Any, listed: Iterable[Any] | None, smaller: Callable[[Any], Iterable[Any]]) -> tuple[Any, ...]:
    """Return the values of a gene in ascending order: the network's own value, and smaller ones.

    Args:
        own: The network's own value.
        listed: Values of which those below ``own`` are taken; None for those that ``smaller`` gives.
        smaller: Function that returns the smaller values that follow from ``own``.
    """
    return tuple(sorted({own, *(value for value in (smaller(own) if listed is None else listed) if value < own)}))


def check_at_most(field: str, values: Iterable[Any] | None, own: Iterable[Any]) -> None:
    """Raise ValueError if a list has a value above all values that the network has."""
    most = max(own)
    for value in values or ():
        if value > most:
            raise bad_value(field, value, f'at most {most}, the value of the network in around')


def fewer(count: int) -> range:
    """Return the smaller numbers of blocks or heads that are at least half of ``count``."""
    return range((count + 1) // 2, count)


def fewer_slots(count: int) -> list[int]:
    """Return the smaller numbers of slots: squares whose side is at least half of the side of ``count``."""
    return [side**2 for side in fewer(math.isqrt(count))]


def narrower(ratio: float, width: int) -> list[float]:
    """Return smaller ratios of hidden channels to ``width``, no two of which give the same number of channels."""
    by_channels = {int(ratio * share * width): ratio * share for share in SHARES}
    return [smaller for channels, smaller in by_channels.items() if 0 < channels < int(ratio * width)]


def narrower_widths(width: int) -> list[int]:
    """Return one half and three quarters of a number of channels, in ascending order."""
    return sorted({channels for share in SHARES if 0 < (channels := int(share * width)) < width})


def smaller_kernels(size: int) -> list[int]:
    """Return the odd kernel sizes near one half and three quarters of ``size`` that are at least 3."""
    return [odd for share in SHARES if (odd := 2 * round((share * size - 1) / 2) + 1) >= SMALLEST_KERNEL]


def smaller_windows(size: int) -> list[int]:
    """Return the two largest proper divisors above 1 of a window's size.

    The attention in such windows is a part of the attention in the larger window.
    """
    return [size // parts for parts in range(2, size // 2 + 1) if size % parts == 0][:2]


def nothing_less(_: Any) -> tuple[()]:
    """Return nothing, for a gene that keeps the network's value."""
    return ()


def merged(lists: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    """Return the different values of several genes in ascending order."""
    return tuple(sorted({value for values in lists for value in values}))


def _from_file(space: type[SearchSpace], path: str) -> Any:
    if '.csv' not in path:
        content = read_json(path)
        if 'arch' not in content:
            return content
    found: Found = read_found(path)
    if found.space is None:
        raise ValueError(f'{path}: missing space, which best_arch.json and best_retrained.json name')
    genes: Mapping[str, Value] = found.arch
    try:
        return space.from_config(found.space).decode(genes)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
