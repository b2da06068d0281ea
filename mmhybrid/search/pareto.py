"""Objectives, and what is better than what under several of them.

All functions take losses: less is better in every column.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmhybrid.utils.checks import bad_value, check_choice

Losses = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Objective:
    """What a search looks for.

    Args:
        name: Of a metric or an estimate.
        direction: ``maximize`` or ``minimize``.

    Raises:
        ValueError: Naming the field, the value and what is allowed.
    """

    name: str
    direction: Literal['maximize', 'minimize'] = 'maximize'

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise bad_value('objective', self.name, 'the name of a metric or an estimate')
        check_choice('direction', self.direction, ('maximize', 'minimize'))

    @property
    def sign(self) -> int:
        """What turns a value into a loss."""
        return -1 if self.direction == 'maximize' else 1


def front(losses: Losses) -> list[int]:
    """The rows that no other row dominates, in order; equal rows do not dominate each other."""
    return [int(i) for i in np.flatnonzero(layers(losses) == 0)]


def ranking(losses: Losses) -> list[int]:
    """The rows from best to worst.

    First the front, then the front of what is left, and so on; within a front by the first column, then the second.
    With one column this is plain sorting. Equal rows keep their order.
    """
    rows = _table(losses)
    return [int(i) for i in np.lexsort([*rows.T[::-1], layers(losses)])]


def layers(losses: Losses) -> np.ndarray:
    """For each row 0 if it is in the front, 1 if it is in the front of what is left, and so on.

    Rows are taken in sorted order, so that none dominates an earlier one, and each goes into the first layer that does
    not dominate it. A layer that dominates it is dominated by all layers before, so that one looks by halves (Zhang,
    Tian, Cheng, Jin: An efficient approach to nondominated sorting, 2015).
    """
    rows = _table(losses)
    numbers = np.zeros(len(rows), int)
    place = _places_by_last_row(rows) if rows.shape[1] <= 2 else _places_by_all_rows(rows)
    for i in np.lexsort(rows.T[::-1]):
        numbers[i] = place(i)
    return numbers


def _places_by_last_row(rows: np.ndarray) -> Callable[[int], int]:
    """The layer of the next row, of up to two columns: the last row of a layer is the least in the last column."""
    lasts: list[list[float]] = []

    def place(i: int) -> int:
        reverse = rows[i, ::-1].tolist()
        layer = bisect_left(lasts, reverse)
        lasts[layer : layer + 1] = [reverse]
        return layer

    return place


def _places_by_all_rows(rows: np.ndarray) -> Callable[[int], int]:
    """The layer of the next row, of any columns: each row of a layer may dominate it."""
    found: list[list[int]] = []

    def place(i: int) -> int:
        def is_free(layer: list[int]) -> bool:
            others = rows[layer]
            return not np.any(np.all(others <= rows[i], axis=1) & np.any(others < rows[i], axis=1))

        layer = bisect_left(found, True, key=is_free)
        if layer == len(found):
            found.append([])
        found[layer].append(i)
        return layer

    return place


def _table(losses: Losses) -> np.ndarray:
    rows = np.asarray(losses, dtype=float)
    return rows if rows.ndim == 2 else rows.reshape(len(losses), 1)


def hypervolume(losses: Losses, reference: Sequence[float]) -> float:
    """The volume between the front and ``reference`` that the front dominates; 0 without a row below it.

    Sliced along the last column, recursively: exact in any dimension, meant for two or three.

    Raises:
        ValueError: If a row and ``reference`` differ in length.
    """
    if any(len(row) != len(reference) for row in losses):
        raise bad_value('reference', list(reference), 'one number for each objective')
    inside = [tuple(row) for row in losses if all(a < b for a, b in zip(row, reference, strict=True))]
    return _volume(sorted({inside[i] for i in front(inside)}, key=lambda row: row[-1]), tuple(reference))


def _volume(rows: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """The volume that rows cover, sorted by their last column and all below the reference."""
    if not rows:
        return 0.0
    if len(reference) == 1:
        return reference[0] - rows[0][0]
    ends = [row[-1] for row in rows[1:]] + [reference[-1]]
    volume = 0.0
    for count, (row, end) in enumerate(zip(rows, ends, strict=True), start=1):
        if end > row[-1]:
            base = sorted((other[:-1] for other in rows[:count]), key=lambda other: other[-1])
            volume += (end - row[-1]) * _volume(base, reference[:-1])
    return volume
