"""Skeletons of every kind, ties that the size decides, searches that evaluate nothing, and how long searches take."""

import json
import random
import time
from collections import Counter

import pytest
from search_toys import AUTOVIT, TOP1, Smooth, estimate, random_stage, search, settings

from mmhybrid.search import Objective, SearchSettings, Stage
from mmhybrid.search.candidate import Candidate, ranked
from mmhybrid.search.config import settings_from_data
from mmhybrid.search.reading import read_study
from mmhybrid.search.skeletons import best_of_each_depth, stratified
from mmhybrid.visualization.search_page import search_page

PARAMS = Objective('params_m', 'minimize')
MACS = Objective('macs_m')


def candidates(count):
    """Random networks, the costliest first."""
    rng = random.Random(0)
    archs = list(dict.fromkeys(AUTOVIT.sample(rng) for _ in range(count)))
    return ranked([Candidate('coarse', 0, i, arch, estimate(arch)) for i, arch in enumerate(archs)], [MACS])


@pytest.mark.parametrize('count', [1, 12, 50])
def test_kinds_get_their_share(count):
    found = stratified(pool := candidates(600), AUTOVIT, count)
    assert len(found) == len(set(found)) == count
    for gene in ('num_stages', 'resolution'):
        pooled = Counter(candidate.arch[gene] for candidate in pool)
        chosen = Counter(arch[gene] for arch in found)
        for value, have in pooled.items():
            assert chosen[value] == pytest.approx(count * have / len(pool), abs=max(1, 0.12 * count)), (gene, value)


def test_the_first_is_the_best_of_the_most_frequent_kind_and_more_only_add():
    pool = candidates(300)
    found = stratified(pool, AUTOVIT, 40)
    assert stratified(pool, AUTOVIT, 15) == found[:15]
    assert set(found) <= set(best_of_each_depth(pool, AUTOVIT))
    depths = [tuple(v for n, v in arch.items() if AUTOVIT.choices[n].is_depth) for arch in found]
    assert len(set(depths)) == len(depths)


def test_within_a_kind_the_best_come_first():
    pool = candidates(600)
    cost = {candidate.arch: candidate.estimates['macs_m'] for candidate in pool}
    found = stratified(pool, AUTOVIT, 50)
    space = AUTOVIT

    def kind(arch):
        return arch['num_stages'], arch['resolution']

    for wanted in set(map(kind, found)):
        chosen = [arch for arch in found if kind(arch) == wanted]
        left = [arch for arch in best_of_each_depth(pool, space) if kind(arch) == wanted and arch not in chosen]
        totals = {sum(v for n, v in arch.items() if n.endswith('.depth')) for arch in chosen}
        same_depth = [arch for arch in left if sum(v for n, v in arch.items() if n.endswith('.depth')) in totals]
        if same_depth and len(totals) == 1:
            assert min(cost[arch] for arch in chosen) >= max(cost[arch] for arch in same_depth)


def test_few_networks_are_all_taken():
    pool = candidates(5)
    assert len(stratified(pool, AUTOVIT, 50)) == len(best_of_each_depth(pool, AUTOVIT))
    assert stratified([], AUTOVIT, 3) == []


def test_of_equal_networks_the_smallest_is_best(tmp_path):
    """A score of two values: half of the networks tie."""
    plan = settings(AUTOVIT, [random_stage()], tie_breaks=(PARAMS,))

    def score(arch):
        return {'top1': float(arch['stem.width'] == 24)}

    result = search(tmp_path, plan, score)
    best = [candidate for candidate in result.evaluated if candidate.metrics == {'top1': 1.0}]
    assert len(best) > 5
    assert result.best.estimates['params_m'] == min(candidate.estimates['params_m'] for candidate in best)
    sizes = [c.estimates['params_m'] for c in result.top() if c.metrics == {'top1': 1.0}]
    assert sizes == sorted(sizes)
    plain = search(tmp_path / 'plain', settings(AUTOVIT, [random_stage()]), score)
    assert plain.best.estimates['params_m'] > result.best.estimates['params_m']


def test_tie_breaks_go_through_the_storage_and_old_settings_have_none(tmp_path):
    plan = settings(AUTOVIT, [random_stage(budget=4, population=2)], tie_breaks=(PARAMS,))
    search(tmp_path, plan)
    stored, _ = read_study(tmp_path / 'search.journal', settings_from_data)
    assert stored.tie_breaks == (PARAMS,)
    assert 'tie_breaks' not in settings(AUTOVIT).to_config()
    with pytest.raises(ValueError, match='tie_breaks: got'):
        SearchSettings(AUTOVIT, [Stage()], [TOP1], tie_breaks=[TOP1])


def test_a_search_may_evaluate_nothing(tmp_path):
    def refuse(arch):
        raise AssertionError(arch)

    stage = random_stage(budget=1, population=1, rank_by=PARAMS)
    plan = settings(AUTOVIT, [stage])
    assert plan.budget == 0
    result = search(tmp_path, plan, refuse)
    assert result.evaluated == []
    assert AUTOVIT.contains(result.best.arch)
    result.write(tmp_path)
    written = json.loads((tmp_path / 'best_arch.json').read_text())
    assert written['metrics'] == {}
    assert written['search']['evaluations'] == 0
    assert written['search']['evaluation_hours'] == 0
    assert len((tmp_path / 'topk.csv').read_text().splitlines()) == 2


def test_time_is_recorded_and_reported(tmp_path):
    smooth = Smooth(AUTOVIT)

    def slow(arch):
        time.sleep(0.02)
        return smooth(arch)

    result = search(tmp_path, settings(AUTOVIT, [random_stage(budget=6, population=3)]), slow)
    assert all(0.02 <= candidate.seconds < 2 for candidate in result.evaluated)
    assert result.proposal_seconds > 0
    _, history = read_study(tmp_path / 'search.journal', settings_from_data)
    assert [candidate.seconds for candidate in history] == [candidate.seconds for candidate in result.evaluated]
    again = search(tmp_path, settings(AUTOVIT, [random_stage(budget=6, population=3)]), slow, resume=True)
    assert again.evaluation_hours == result.evaluation_hours > 6 * 0.02 / 3600
    assert 'GPU hours' in search_page(result, 'search')
