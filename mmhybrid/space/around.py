"""Spaces around a network: of each gene the network's own value and less, so that the network is the largest member.

The lists follow from the network alone: counts (blocks, heads) down to half of its own, ratios and kernels of three
quarters and of half. Channels between blocks have no order of importance, so widths stay as they are unless a list
names smaller ones.
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
    """The architecture of a network.

    Args:
        space: The class of its family's spaces.
        around: A name of the family's presets, what the backbone takes as ``arch``, a JSON file with that, or a file
            that a search or a retraining wrote (see :func:`read_found`).

    Raises:
        ValueError: If it is none of these, or a network of another family.
    """
    assert space.arch_class is not None
    try:
        is_file = isinstance(around, str) and ('.json' in around or '.csv' in around)
        return space.arch_class.parse(_from_file(space, str(around)) if is_file else around)
    except ValueError as error:
        raise ValueError(f'around: {error}') from error


def check_largest(space: SearchSpace, network: NetworkArch) -> None:
    """Raise ValueError unless a network is in a space; it is the largest there."""
    try:
        genes = space.encode(network)
    except ValueError as error:
        raise ValueError(f'around: {error}') from error
    assert genes == space.largest(), f'{genes} is not the largest'


def own_and_less(own: Any, listed: Iterable[Any] | None, smaller: Callable[[Any], Iterable[Any]]) -> tuple[Any, ...]:
    """A gene's values, ascending: its own one, and those below it that are listed, or follow from it without a list."""
    return tuple(sorted({own, *(value for value in (smaller(own) if listed is None else listed) if value < own)}))


def check_at_most(field: str, values: Iterable[Any] | None, own: Iterable[Any]) -> None:
    """Raise ValueError if a list has a value above all that the network has."""
    most = max(own)
    for value in values or ():
        if value > most:
            raise bad_value(field, value, f'at most {most}, which the network has that the space is around')


def fewer(count: int) -> range:
    """Blocks or heads, from half as many on."""
    return range((count + 1) // 2, count)


def fewer_slots(count: int) -> list[int]:
    """Squares, from half as many rows of slots on."""
    return [side**2 for side in fewer(math.isqrt(count))]


def narrower(ratio: float, width: int) -> list[float]:
    """Ratios of hidden channels to ``width``, of which each leaves another number of channels."""
    by_channels = {int(ratio * share * width): ratio * share for share in SHARES}
    return [smaller for channels, smaller in by_channels.items() if 0 < channels < int(ratio * width)]


def narrower_widths(width: int) -> list[int]:
    """Channels."""
    return sorted({channels for share in SHARES if 0 < (channels := int(share * width)) < width})


def smaller_kernels(size: int) -> list[int]:
    """Odd sizes of kernels."""
    return [odd for share in SHARES if (odd := 2 * round((share * size - 1) / 2) + 1) >= SMALLEST_KERNEL]


def smaller_windows(size: int) -> list[int]:
    """The two largest windows that divide one: their attention is a part of its."""
    return [size // parts for parts in range(2, size // 2 + 1) if size % parts == 0][:2]


def nothing_less(_: Any) -> tuple[()]:
    """Of a gene that keeps the network's value."""
    return ()


def merged(lists: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    """The values of several genes, ascending."""
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
