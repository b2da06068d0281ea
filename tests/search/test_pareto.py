"""Ranking, front and hypervolume against their definitions."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from work import work_of

from mmhybrid.search import Objective, front, hypervolume, pareto, ranking
from mmhybrid.search.pareto import GrowingRanking


def tables(columns, high=6, max_size=12):
    return st.lists(st.tuples(*[st.integers(0, high)] * columns), max_size=max_size)


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


@given(st.integers(1, 3).flatmap(tables))
def test_front_is_what_nothing_dominates(rows):
    assert front(rows) == [i for i, row in enumerate(rows) if not any(dominates(other, row) for other in rows)]


@given(st.integers(1, 3).flatmap(tables))
def test_ranking_keeps_every_row_and_puts_no_dominated_row_before_its_better(rows):
    order = ranking(rows)
    assert sorted(order) == list(range(len(rows)))
    for earlier, later in itertools.combinations(order, 2):
        assert not dominates(rows[later], rows[earlier])


def peeled(rows):
    """The order of rows as one finds it by hand: front after front, each sorted."""
    left, order = sorted(range(len(rows)), key=lambda i: rows[i]), []
    while left:
        best = [i for i in left if not any(dominates(rows[j], rows[i]) for j in left)]
        order += best
        left = [i for i in left if i not in best]
    return order


@given(st.integers(1, 4).flatmap(lambda columns: tables(columns, 4, 40)))
def test_ranking_is_front_after_front_each_sorted(rows):
    assert ranking(rows) == peeled(rows)


@st.composite
def growths(draw):
    """Batches of rows and how many are asked for after each, with few values, so that many are equal."""
    rows = draw(st.integers(1, 4).flatmap(lambda columns: tables(columns, draw(st.integers(1, 9)), 60)))
    ends = sorted(draw(st.sets(st.integers(0, len(rows)), max_size=6)) | {len(rows)})
    return rows, [(end, draw(st.integers(0, 25))) for end in ends]


@given(growths())
def test_a_growing_ranking_is_the_ranking_of_what_there_is(growth):
    rows, questions = growth
    growing, number = GrowingRanking(), 0
    for end, count in questions:
        for i in range(number, end):
            growing.add(rows[i], i, i)
        number = end
        assert growing.first(count) == peeled(rows[:end])[:count]
    assert growing.first(len(rows)) == peeled(rows)


@given(tables(2, 3), st.randoms(use_true_random=False))
def test_equal_rows_of_a_growing_ranking_are_in_the_order_that_is_said(rows, rng):
    order = rng.sample(range(len(rows)), len(rows))
    growing = GrowingRanking()
    for i in order:
        growing.add(rows[i], i, i)
        growing.first(2)
    assert growing.first(len(rows)) == peeled(rows)


def random_rows(number, columns):
    rng = random.Random(0)
    return [[rng.random() for _ in range(columns)] for _ in range(number)]


@pytest.mark.parametrize('columns', [2, 3])
def test_four_times_the_rows_make_four_times_the_work_of_a_front(columns):
    """Comparing each with each would be sixteen times as much."""
    rows, found = random_rows(10_000, columns), []
    work = work_of(lambda: found.extend(front(rows)), pareto)
    assert work < 5 * work_of(lambda: front(rows[::4]), pareto)
    assert found == [i for i in found if not any(dominates(rows[j], rows[i]) for j in found)]


@pytest.mark.parametrize(('columns', 'growth'), [(2, 5), (3, 13)])
def test_ranking_compares_fewer_rows_than_each_with_each(columns, growth):
    """As above; of three columns the number of layers grows too, and their rows."""
    rows, order = random_rows(2000, columns), []
    work = work_of(lambda: order.extend(ranking(rows)), pareto)
    assert work < growth * work_of(lambda: ranking(rows[::4]), pareto)
    assert sorted(order) == list(range(2000))


@given(tables(1))
def test_ranking_by_one_column_is_stable_sorting(rows):
    assert ranking(rows) == sorted(range(len(rows)), key=lambda i: rows[i])


@given(tables(2).filter(bool))
def test_the_first_is_the_best_by_the_first_column(rows):
    assert rows[ranking(rows)[0]] == min(rows)


@given(st.integers(1, 3).flatmap(lambda columns: tables(columns, 5)))
def test_hypervolume_counts_the_dominated_cells(rows):
    """On whole numbers the volume is the number of unit cells that some row is below."""
    columns = len(rows[0]) if rows else 2
    cells = itertools.product(range(6), repeat=columns)
    dominated = sum(any(all(x <= c for x, c in zip(row, cell, strict=True)) for row in rows) for cell in cells)
    assert hypervolume(rows, [6] * columns) == pytest.approx(dominated)


def test_hypervolume_of_one_point_is_a_box():
    assert hypervolume([(0.25, -1.0, 2.0)], (1.0, 1.0, 3.0)) == pytest.approx(0.75 * 2 * 1)


def test_hypervolume_of_a_staircase():
    """n points (i, n - 1 - i) below (n, n) leave a triangle of steps: n (n + 1) / 2 cells."""
    n = 40
    assert hypervolume([(i, n - 1 - i) for i in range(n)], (n, n)) == pytest.approx(n * (n + 1) / 2)


@given(tables(2), st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_hypervolume_never_falls_with_a_point(rows, point):
    assert hypervolume([*rows, point], (7, 7)) >= hypervolume(rows, (7, 7))


def test_hypervolume_ignores_points_beyond_the_reference():
    assert hypervolume([(0, 9), (9, 0)], (5, 5)) == 0


@pytest.mark.parametrize(('name', 'direction'), [('', 'maximize'), ('top1', 'max'), (None, 'minimize')])
def test_objectives_check_themselves(name, direction):
    with pytest.raises(ValueError, match='allowed'):
        Objective(name, direction)


def test_rows_and_reference_must_agree():
    with pytest.raises(ValueError, match='reference'):
        hypervolume([(1, 2)], (3,))
