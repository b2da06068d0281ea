"""Bounds, and how a search ends that cannot meet them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_toys import Smooth, Toy, estimate, in_memory, random_stage, search, settings

from mmhybrid.search import (
    Constraint,
    Evolution,
    OptunaSampler,
    RandomSampler,
    Searcher,
    SearchError,
    Stage,
    StudyStorage,
)

numbers = st.floats(-100, 100)


@given(numbers, numbers, numbers)
def test_a_bound_is_violated_exactly_outside(value, a, b):
    low, high = sorted((a, b))
    violated = Constraint('x', low, high).violations({'x': value})
    assert (not violated) == (low <= value <= high)
    assert all(excess > 0 for excess in violated.values())


@pytest.mark.parametrize('bounds', [(None, None), (2, 1), (float('nan'), None), (None, 'many')])
def test_bounds_check_themselves(bounds):
    with pytest.raises(ValueError, match='params_m'):
        Constraint('params_m', *bounds)


def test_an_unknown_estimate_is_named(tmp_path):
    plan = settings(Toy(), constraints=[Constraint('latency_ms', max=1)])
    with pytest.raises(ValueError, match=r"'latency_ms'.*macs_m.*params_m"):
        search(tmp_path, plan)


@pytest.mark.parametrize('sampler', [RandomSampler(), Evolution(num_parents=3), OptunaSampler()])
def test_nothing_outside_the_bounds_is_evaluated(tmp_path, sampler):
    bounds = [Constraint('params_m', 4, 6), Constraint('macs_m', max=16)]
    scores = Smooth(Toy(5, 4))
    result = search(tmp_path, settings(Toy(5, 4), [random_stage(sampler=sampler)], constraints=bounds), scores)
    assert len(scores.calls) == len(result.evaluated) == 40
    for arch in scores.calls:
        assert 4 <= estimate(arch)['params_m'] <= 6
        assert estimate(arch)['macs_m'] <= 16


@pytest.mark.parametrize('sampler', [RandomSampler(), Evolution(), OptunaSampler(), OptunaSampler('TPESampler')])
def test_impossible_bounds_end_with_shares_and_the_nearest(tmp_path, sampler):
    seen = []

    def cost(arch):
        seen.append(estimate(arch)['params_m'])
        return {'params_m': seen[-1]}

    plan = settings(
        Toy(6, 6), [random_stage(sampler=sampler)], constraints=[Constraint('params_m', max=-1)], max_tries=60
    )
    scores = Smooth(plan.space)
    with pytest.raises(SearchError) as caught:
        Searcher(plan, cost, scores, StudyStorage(tmp_path / 'j', plan)).run()
    message = str(caught.value)
    assert 'params_m <= -1: 100.0%' in message
    assert 'of 600 tries' in message  # 60 for each of the 10 of a generation
    assert f'params_m = {min(seen):g}: ' in message
    assert not scores.calls


def test_an_impossible_small_space_says_that_all_of_it_was_seen(tmp_path):
    plan = settings(Toy(2, 2), constraints=[Constraint('params_m', min=100)])
    with pytest.raises(SearchError, match='all 3 networks of its space'):
        search(tmp_path, plan)


def test_the_number_of_estimates_is_bounded(tmp_path):
    calls = []

    def cost(arch):
        calls.append(arch)
        return {'params_m': 1.0}

    plan = settings(Toy(8, 8), constraints=[Constraint('params_m', max=0)], max_tries=100)
    with pytest.raises(SearchError, match='1000 tries'):
        Searcher(plan, cost, Smooth(plan.space), StudyStorage(tmp_path / 'j', plan)).run()
    assert len(calls) <= 1000


class Messages:
    def __init__(self):
        self.texts, self.candidates = [], []

    def on_candidate(self, candidate, progress):
        self.candidates.append((candidate, progress))

    def on_message(self, text):
        self.texts.append(text)


@pytest.mark.parametrize('sampler', [RandomSampler(), Evolution(), OptunaSampler()])
def test_an_exhausted_space_is_searched_whole_and_ends(tmp_path, sampler):
    """3 x 3 x 3 values, the last without effect for the first at 0: 3 + 2 * 9 = 21 networks."""
    space = Toy(3, 3)
    scores, watcher = Smooth(space), Messages()
    result = search(tmp_path, settings(space, [Stage('all', sampler, budget=500)]), scores, watcher=watcher)
    assert len(scores.calls) == len(set(scores.calls)) == space.size() == 21
    assert len(result.top()) == 21
    assert len(watcher.texts) == 1
    assert 'all 21 networks' in watcher.texts[0]


def test_rejections_add_up(tmp_path):
    bounds = [Constraint('params_m', max=5)]
    result = search(tmp_path, settings(Toy(5, 4), constraints=bounds))
    counts = result.rejections()
    rejected = counts.get('params_m <= 5', 0) + counts.get('known already', 0)
    assert counts['tries'] == len(result.history) + rejected
    assert counts['params_m <= 5'] > 0


def test_estimates_must_be_finite(tmp_path):
    plan = settings(Toy())
    storage = StudyStorage(tmp_path / 'j', plan)
    with pytest.raises(ValueError, match='latency_ms'):
        Searcher(plan, lambda arch: {'latency_ms': float('nan')}, Smooth(plan.space), storage).run()


@pytest.mark.parametrize('sampler', [RandomSampler(), Evolution()])
def test_bounds_that_one_in_a_hundred_thousand_networks_keeps_are_met(sampler):
    """24 genes of 6 values, whose sum is the cost: the share of the cheapest is known in closed form."""
    space, values, bound = Toy(24, 6), 6, 25
    ways = [1]
    for _ in range(24):
        ways = [sum(ways[max(total - values + 1, 0) : total + 1]) for total in range(len(ways) + values - 1)]
    assert sum(ways[: bound + 1]) / values**24 < 1e-5
    plan = settings(space, [Stage('tight', sampler, 200, 50)], constraints=[Constraint('params_m', max=bound)])
    found = in_memory(plan, Smooth(space))
    assert len({candidate.arch for candidate in found}) == 200
    assert all(candidate.estimates['params_m'] <= bound for candidate in found)


def test_an_unlucky_place_may_use_the_draws_that_others_left(tmp_path):
    """The last networks of a small space are met rarely: some places take more draws than ``max_tries``."""
    space = Toy(4, 3)
    result = search(tmp_path, settings(space, [random_stage(budget=space.size(), population=20)], max_tries=30))
    assert len(result.history) == space.size()
    assert max(candidate.tries for candidate in result.history) > 30
