"""Objectives, and what is better than what under several of them.

All functions take losses: less is better in every column.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from mmhybrid.utils.checks import bad_value, check_choice

T = TypeVar('T')
Losses = Sequence[Sequence[float]]
CHUNK = 64  # rows that are compared with all of a layer at a time


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
    rows = _table(losses)
    is_first = layers(losses) == 0 if rows.shape[1] <= 2 else _undominated(rows)
    return [int(i) for i in np.flatnonzero(is_first)]


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


@dataclass(order=True)
class _Ranked(Generic[T]):
    """Sorts by its losses, then by what decides among equals."""

    losses: tuple[float, ...]
    decisive: Any
    item: T = field(compare=False)


@dataclass
class _Layer(Generic[T]):
    """Rows that are in no earlier layer.

    Args:
        settled: None of which dominates another, sorted.
        others: Of which nothing is known yet.
    """

    settled: list[_Ranked[T]] = field(default_factory=list)
    others: list[_Ranked[T]] = field(default_factory=list)


class GrowingRanking(Generic[T]):
    """The best of items that become more, as :func:`ranking` has them.

    A new row leaves each other in its layer or moves it to a later one, never to an earlier one. So rows stay where
    they were found to be, new ones start in the first layer, and what is dominated there goes to the next. Only as many
    layers are settled as it takes: the cost does not depend on the number of rows, but on that of the first layers.
    """

    def __init__(self) -> None:
        self._layers: list[_Layer[T]] = []

    def add(self, losses: Sequence[float], decisive: Any, item: T) -> None:
        """Add an item.

        Args:
            losses: As many as of every other.
            decisive: What decides among rows of equal losses, less is better; no two may be equal.
            item: What :meth:`first` returns.
        """
        self._layer(0).others.append(_Ranked(tuple(losses), decisive, item))

    def first(self, count: int) -> list[T]:
        """The best of all, from best to worst."""
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
        """Move to the next layer what is dominated in this one."""
        layer = self._layers[number]
        new, layer.others = layer.others, []
        if not new:
            return
        if len(new[0].losses) > 1:  # one loss alone sorts
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
    """Those that stay, and those that do not."""
    kept: list[_Ranked[T]] = []
    moved: list[_Ranked[T]] = []
    for row, goes in zip(ranked, is_worse.tolist(), strict=True):
        (moved if goes else kept).append(row)
    return kept, moved


def _undominated(rows: np.ndarray) -> np.ndarray:
    """Which rows no other dominates: the least row of those left is one, and takes those away that it dominates."""
    found = np.zeros(len(rows), bool)
    left = np.lexsort(rows.T[::-1])
    while len(left):
        is_reached = np.all(rows[left] >= rows[left[0]], axis=1)
        reached = left[is_reached]
        found[reached[np.all(rows[reached] == rows[left[0]], axis=1)]] = True
        left = left[~is_reached]
    return found


def _dominated(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which rows some of the others dominates."""
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
