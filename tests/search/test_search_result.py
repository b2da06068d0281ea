"""What a search hands out at its end, and says while it runs."""

import csv
import json
import logging
import os
import re
from dataclasses import replace

import pytest
from search_toys import AUTOVIT, TOP1, Smooth, as_evaluated, in_memory, search, settings

from mmhybrid.search import Constraint, LogWatcher, Objective, SearchResult, hypervolume
from mmhybrid.space import Arch, AutoViTSpace

TWO = [TOP1, Objective('params_m', 'minimize')]


@pytest.fixture(scope='module')
def result():
    plan = settings(AUTOVIT, objectives=TWO)
    return SearchResult(plan, tuple(in_memory(plan, Smooth(AUTOVIT, 1.0))))


def test_best_is_first_of_top_and_on_the_front(result):
    scores = [candidate.metrics['top1'] for candidate in result.evaluated]
    assert result.best == result.top(1)[0]
    assert result.best.metrics['top1'] == max(scores)
    assert result.best in result.front()
    assert result.top()[: len(result.front())] == result.front()


def test_hypervolume_in_the_objectives_own_units(result):
    flipped = [(-c.metrics['top1'], c.estimates['params_m']) for c in result.evaluated]
    assert result.hypervolume((-1.0, 700.0)) == pytest.approx(hypervolume(flipped, (1.0, 700.0)))
    assert result.hypervolume((-1.0, 700.0)) > 0
    with pytest.raises(ValueError, match='reference'):
        result.hypervolume((1.0,))


def dominated(candidate, others):
    """By the definition, score against parameters."""
    score, cost = candidate.metrics['top1'], candidate.estimates['macs_m']
    return any(
        other.metrics['top1'] >= score
        and other.estimates['macs_m'] <= cost
        and (other.metrics['top1'] > score or other.estimates['macs_m'] < cost)
        for other in others
    )


def test_one_score_alone_is_weighed_against_what_was_estimated():
    plan = settings(AUTOVIT)
    alone = SearchResult(plan, tuple(in_memory(plan, Smooth(AUTOVIT))))
    assert [objective.name for objective in alone.trade_off] == ['top1', 'macs_m']
    evaluated = alone.evaluated
    expected = {c.key for c in evaluated if not dominated(c, evaluated)}
    assert 1 < len(expected) < len(evaluated)
    assert {c.key for c in alone.front(alone.trade_off)} == expected
    assert alone.front() == [alone.best]
    timed = [replace(c, estimates={**c.estimates, 'latency_ms': 1.0}) for c in alone.history]
    assert [objective.name for objective in SearchResult(plan, tuple(timed)).trade_off] == ['top1', 'latency_ms']


def test_two_objectives_are_the_front(result):
    assert result.trade_off == TWO
    assert result.front(result.trade_off) == result.front()


def test_the_best_within_a_budget(result):
    costs = sorted(candidate.estimates['params_m'] for candidate in result.evaluated)
    middle = costs[len(costs) // 2]
    best = result.best_within({'params_m': middle})
    kept = [candidate for candidate in result.evaluated if candidate.estimates['params_m'] <= middle]
    assert best in kept
    assert best.metrics['top1'] == max(candidate.metrics['top1'] for candidate in kept) < result.best.metrics['top1']
    assert result.best_within({'params_m': costs[-1]}) == result.best
    with pytest.raises(ValueError, match=r'bound: got .latency_ms., allowed: one of the estimates'):
        result.best_within({'latency_ms': 1.0})
    least = f'none of the 40 networks keeps params_m <= 1; the least is {costs[0]:.4g} for params_m'
    with pytest.raises(ValueError, match=re.escape(least)):
        result.best_within({'params_m': 1.0})


def test_of_equal_scores_within_a_budget_the_cheaper_is_taken(result):
    equal = [candidate.evaluated({'top1': 0.5}) for candidate in result.evaluated]
    best = SearchResult(settings(AUTOVIT), tuple(equal)).best_within({'macs_m': 1e9})
    assert best.estimates['macs_m'] == min(candidate.estimates['macs_m'] for candidate in equal)


def test_files_say_what_was_found(result, tmp_path):
    best, top = result.write(tmp_path / 'new', count=5)
    saved = json.loads(best.read_text())
    space = AutoViTSpace.from_config(saved['space'])
    assert Arch(saved['arch']) == result.best.arch
    assert space.contains(saved['arch'])
    assert saved['metrics'] == result.best.metrics
    rows = list(csv.DictReader(top.open()))
    assert [int(row['rank']) for row in rows] == [1, 2, 3, 4, 5]
    assert [Arch.from_json(row['arch']) for row in rows] == [candidate.arch for candidate in result.top(5)]
    assert [float(row['top1']) for row in rows] == [candidate.metrics['top1'] for candidate in result.top(5)]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(result, tmp_path, monkeypatch):
    result.write(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}

    def fail(source, target):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='disk full'):
        result.write(tmp_path, count=2)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_one_log_line_a_candidate(tmp_path, caplog):
    plan = settings(AUTOVIT, constraints=[Constraint('params_m', max=620.0)])
    logger = logging.getLogger('search test')
    with caplog.at_level(logging.INFO, logger='search test'):
        result = search(tmp_path, plan, watcher=LogWatcher(plan, logger))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 40
    assert '  1/40  eta 0:00' in lines[0].replace('░', ' ')
    assert lines[19].startswith('██████░░░░░░ 20/40')
    assert lines[-1].startswith('████████████ 40/40  eta 0:00:00')
    best = f'{result.best.metrics["top1"]:.4g}'
    assert f'best {best:>8}' in lines[-1]
    assert all(
        f'top1 {c.metrics["top1"]:>8.4g}' in line for c, line in zip(as_evaluated(result.history), lines, strict=True)
    )
