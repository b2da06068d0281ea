"""Objectives, and the order of candidates under one or several of them.

All functions take losses: in every column, smaller is better.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from mmhybrid.utils.checks import bad_value, check_choice

T = TypeVar('T')
Losses = Sequence[Sequence[float]]
CHUNK = 64  # number of rows that are compared at a time with all rows of a layer


@dataclass(frozen=True)
class Objective:
    """An objective of a search.

    Args:
        name: Name of a metric or an estimate.
        direction: Direction of improvement, ``maximize`` or ``minimize``.

    Raises:
        ValueError: If an argument is wrong. The message names the field, its value and what is allowed.
    """

    name: str
    direction: Literal['maximize', 'minimize'] = 'maximize'

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise bad_value('objective', self.name, 'the name of a metric or an estimate')
        check_choice('direction', self.direction, ('maximize', 'minimize'))

    @property
    def sign(self) -> int:
        """Factor that turns a value into a loss: -1 to maximize, 1 to minimize."""
        return -1 if self.direction == 'maximize' else 1


def front(losses: Losses) -> list[int]:
    """Return the indices of the rows that no other row dominates, in order; equal rows do not dominate each other."""
    rows = _table(losses)
    is_first = layers(losses) == 0 if rows.shape[1] <= 2 else _undominated(rows)
    return [int(i) for i in np.flatnonzero(is_first)]


def ranking(losses: Losses) -> list[int]:
    """Return the indices of the rows from best to worst.

    The front comes first, then the front of the remaining rows, and so on. Within a front, rows are sorted by the first
    column, then by the second, and so on. With one column, this is plain sorting. Equal rows keep their order.
    """
    rows = _table(losses)
    return [int(i) for i in np.lexsort([*rows.T[::-1], layers(losses)])]


def layers(losses: Losses) -> np.ndarray:
    """Return the layer of each row: 0 in the front, 1 in the front of the remaining rows, and so on.

    Rows are taken in sorted order, so that no row dominates an earlier one, and each goes into the first layer that
    does not dominate it. If a layer dominates a row, so do all earlier layers, so the layer is found by binary search
    (Zhang, Tian, Cheng, Jin: An efficient approach to nondominated sorting, 2015).
    """
    rows = _table(losses)
    numbers = np.zeros(len(rows), int)
    place = _places_by_last_row(rows) if rows.shape[1] <= 2 else _places_by_all_rows(rows)
    for i in np.lexsort(rows.T[::-1]):
        numbers[i] = place(i)
    return numbers


def _places_by_last_row(rows: np.ndarray) -> Callable[[int], int]:
    """Return a function that finds the layer of the next row, for rows of one or two columns.

    The last row of a layer has the smallest value of the last column, so one comparison with it is enough.
    """
    lasts: list[list[float]] = []

    def place(i: int) -> int:
        reverse = rows[i, ::-1].tolist()
        layer = bisect_left(lasts, reverse)
        lasts[layer : layer + 1] = [reverse]
        return layer

    return place


def _places_by_all_rows(rows: np.ndarray) -> Callable[[int], int]:
    """Return a function that finds the layer of the next row, for any number of columns.

    Any row of a layer may dominate the next row, so it is compared with all of them.
    """
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


@dataclass(order=True)
class _Ranked(Generic[T]):
    """An item that sorts by its losses, and then by a key that decides between equals."""

    losses: tuple[float, ...]
    decisive: Any
    item: T = field(compare=False)


@dataclass
class _Layer(Generic[T]):
    """Rows that are in no earlier layer.

    Args:
        settled: Sorted rows, none of which dominates another.
        others: Rows that were not compared yet.
    """

    settled: list[_Ranked[T]] = field(default_factory=list)
    others: list[_Ranked[T]] = field(default_factory=list)


class GrowingRanking(Generic[T]):
    """The best of a growing number of items, in the order of :func:`ranking`.

    A new row leaves each other row in its layer or moves it to a later one, never to an earlier one. So rows stay in
    the layer in which they were found, new rows start in the first layer, and rows that are dominated there move to the
    next. Only as many layers are settled as needed, so the cost depends on the size of the first layers and not on the
    number of all rows.
    """

    def __init__(self) -> None:
        self._layers: list[_Layer[T]] = []

    def add(self, losses: Sequence[float], decisive: Any, item: T) -> None:
        """Add an item.

        Args:
            losses: Losses of the item, as many as of every other item.
            decisive: Sort key among rows of equal losses; smaller is better, and no two may be equal.
            item: Item that :meth:`first` returns.
        """
        self._layer(0).others.append(_Ranked(tuple(losses), decisive, item))

    def first(self, count: int) -> list[T]:
        """Return the ``count`` best items, from best to worst."""
        found: list[_Ranked[T]] = []
        number = 0
        while len(found) < count and number < len(self._layers):
            self._settle(number)
            found += self._layers[number].settled[: count - len(found)]
            number += 1
        return [row.item for row in found]

    def _layer(self, number: int) -> _Layer[T]:
        if number == len(self._layers):
            self._layers.append(_Layer())
        return self._layers[number]

    def _settle(self, number: int) -> None:
        """Move the rows of a layer that are dominated in it to the next layer."""
        layer = self._layers[number]
        new, layer.others = layer.others, []
        if not new:
            return
        if len(new[0].losses) > 1:  # with one loss, sorting is enough and no row moves
            new, worse = _split(new, ~_undominated(_rows(new)))
            if layer.settled:
                new, more = _split(new, _dominated(_rows(new), _rows(layer.settled)))
                worse += more
            if layer.settled and new:
                layer.settled, more = _split(layer.settled, _dominated(_rows(layer.settled), _rows(new)))
                worse += more
            if worse:
                self._layer(number + 1).others.extend(worse)
        for row in new:
            insort(layer.settled, row)


def _rows(ranked: Sequence[_Ranked[T]]) -> np.ndarray:
    return np.array([row.losses for row in ranked])


def _split(ranked: Sequence[_Ranked[T]], is_worse: np.ndarray) -> tuple[list[_Ranked[T]], list[_Ranked[T]]]:
    """Return the rows that stay and the rows that move."""
    kept: list[_Ranked[T]] = []
    moved: list[_Ranked[T]] = []
    for row, goes in zip(ranked, is_worse.tolist(), strict=True):
        (moved if goes else kept).append(row)
    return kept, moved


def _undominated(rows: np.ndarray) -> np.ndarray:
    """Return a mask of the rows that no other row dominates.

    The smallest of the remaining rows is one of them, and takes away the rows that it dominates.
    """
    found = np.zeros(len(rows), bool)
    left = np.lexsort(rows.T[::-1])
    while len(left):
        is_reached = np.all(rows[left] >= rows[left[0]], axis=1)
        reached = left[is_reached]
        found[reached[np.all(rows[reached] == rows[left[0]], axis=1)]] = True
        left = left[~is_reached]
    return found


def _dominated(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return a mask of the rows that at least one of the others dominates."""
    found = np.zeros(len(rows), bool)
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK, None]
        is_dominated = np.all(others <= part, axis=2) & np.any(others < part, axis=2)
        found[start : start + CHUNK] = is_dominated.any(axis=1)
    return found


def _table(losses: Losses) -> np.ndarray:
    rows = np.asarray(losses, dtype=float)
    return rows if rows.ndim == 2 else rows.reshape(len(losses), 1)


def hypervolume(losses: Losses, reference: Sequence[float]) -> float:
    """Return the volume that the front dominates below ``reference``; 0 if no row is below it in every column.

    The volume is sliced along the last column, recursively. It is exact in any dimension, and meant for two or three.

    Raises:
        ValueError: If a row and ``reference`` differ in length.
    """
    if any(len(row) != len(reference) for row in losses):
        raise bad_value('reference', list(reference), 'one number for each objective')
    inside = [tuple(row) for row in losses if all(a < b for a, b in zip(row, reference, strict=True))]
    return _volume(sorted({inside[i] for i in front(inside)}, key=lambda row: row[-1]), tuple(reference))


def _volume(rows: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """Return the volume that the rows dominate; they are sorted by their last column and all below the reference."""
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
