"""What a candidate costs does not grow with their number, and the search is the one that looks at all of them."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from search_toys import AUTOVIT, TOP1, Smooth, Toy, estimate, in_memory, settings

from mmhybrid.search import (
    Candidate,
    Constraint,
    Evolution,
    Objective,
    RandomSampler,
    Searcher,
    Skeletons,
    Stage,
    StudyStorage,
    ranked,
)
from mmhybrid.search.candidate import Leaders
from mmhybrid.search.proposals import Proposer

COST = Objective('macs_m', 'minimize')
FLIPS = Objective('flips', 'minimize')


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def plainly_ranked(candidates, objectives, tie_breaks):
    """From the definition: without failures, front after front, each by the objectives, tie-breaks and order."""

    def losses(candidate, of):
        return tuple(o.sign * {**candidate.estimates, **candidate.metrics}[o.name] for o in of)

    left = [c for c in candidates if not c.failure and all(map(math.isfinite, losses(c, objectives)))]
    left.sort(key=lambda c: (losses(c, objectives), losses(c, tie_breaks), candidates.index(c)))
    order = []
    while left:
        points = [losses(c, objectives) for c in left]
        best = [c for c, a in zip(left, points, strict=True) if not any(dominates(b, a) for b in points)]
        order += best
        left = [c for c in left if c not in best]
    return order


SCORES = st.one_of(st.integers(0, 4), st.integers(0, 1), st.sampled_from([math.nan, math.inf]))
KINDS = [
    ((TOP1,), ()),
    ((TOP1,), (FLIPS,)),
    ((TOP1, COST), ()),
    ((COST, TOP1), (FLIPS,)),
    ((TOP1, COST, FLIPS), ()),
]


@given(
    st.lists(st.tuples(SCORES, st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=40),
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=4),
)
def test_leaders_are_the_first_of_a_plain_ranking(found, kind, questions):
    arch = AUTOVIT.smallest()
    candidates = [
        Candidate('s', 0, i, arch, {'macs_m': float(cost)}, {'top1': float(score), 'flips': float(flips)}, 1, {}, fails)
        for i, (score, cost, flips, is_bad) in enumerate(found)
        for fails in ['Error: bad' if is_bad else '']
    ]
    leaders, number = Leaders(*kind), 0
    for end, count in [*sorted(questions), (len(candidates), 40)]:
        for candidate in candidates[number:end]:
            leaders.add(candidate, candidate.index)
        number = max(number, min(end, len(candidates)))
        expected = plainly_ranked(candidates[:number], *kind)
        assert leaders.first(count) == expected[:count]
        assert ranked(candidates[:number], *kind) == expected


class Plain(Evolution):
    """Evolution whose parents are ranked plainly."""

    def plan(self, situation, rng):
        """See :class:`mmhybrid.search.Sampler`."""

        class Best:
            @staticmethod
            def first(count):
                history = situation.history
                return plainly_ranked(history, situation.objectives, situation.tie_breaks)[:count]

        return super().plan(replace(situation, leaders=Best()), rng)


class Scores:
    """Of few values; some networks fail."""

    def __call__(self, arch):
        number = sum((i + 1) * (v if isinstance(v, int) else len(str(v))) for i, v in enumerate(arch.values()))
        if number % 7 == 0:
            raise RuntimeError('no')
        return {'top1': math.nan if number % 11 == 0 else float(number * 37 % 5), 'flips': float(number % 3)}


@pytest.mark.parametrize(
    ('objectives', 'tie_breaks', 'shared'), [*((*kind, False) for kind in KINDS), (*KINDS[3], True)]
)
def test_a_search_is_the_one_that_ranks_all(tmp_path, objectives, tie_breaks, shared):
    """With constraints, failures, ties and three stages, and what is saved after each generation."""

    def run(evolution, name):
        stages = [
            Stage('coarse', RandomSampler(), 30, 30, rank_by=COST),
            Stage('fine', evolution(num_parents=4), 40, 8, skeletons=Skeletons('coarse', 5, False)),
            Stage('last', evolution(num_parents=4), 40, 8),
        ]
        constraints = [Constraint('params_m', max=9)]
        plan = settings(Toy(5, 4), stages, objectives, tie_breaks=tie_breaks, constraints=constraints)
        saved = []
        storage = StudyStorage(tmp_path / name, plan, shared=shared)
        Searcher(
            plan,
            estimate,
            Scores(),
            storage,
            poll_seconds=0.01,
            max_failed=1,
            save=lambda result: saved.append((result.history, result.top(5), result.best)),
        ).run()
        for history, top, best in saved:
            scored = [candidate for candidate in history if candidate.metrics is not None]
            assert top == plainly_ranked(scored, objectives, tie_breaks)[:5]
            assert best == top[0]
        return [(c.key, c.arch, c.tries, c.failure) for c in saved[-1][0]]

    assert run(Evolution, 'search') == run(Plain, 'plain')


@pytest.mark.parametrize(
    ('objectives', 'shared'),
    [((TOP1,), False), ((TOP1, COST), True), ((TOP1, COST, Objective('params_m')), False)],
)
def test_a_later_candidate_is_looked_at_no_more_often(tmp_path, monkeypatch, objectives, shared):
    """Each generation looked at every candidate before it, several times."""
    looks = Counter()

    class Watched(Candidate):
        def losses(self, objectives):
            looks['losses'] += 1
            return super().losses(objectives)

        @property
        def key(self):
            looks['key'] += 1
            return super().key

    monkeypatch.setattr('mmhybrid.search.proposals.Candidate', Watched)
    plan = settings(AUTOVIT, [Stage(budget=240, population=20)], objectives)
    counts = []

    class Watch:
        def on_candidate(self, candidate, progress):
            if progress.done % 40 == 0:
                counts.append(looks.total())

        def on_message(self, text):
            pass

    def save(result):
        return result.write(tmp_path)

    storage = StudyStorage(tmp_path / 'search.journal', plan, shared=shared)
    Searcher(plan, estimate, Smooth(AUTOVIT), storage, watcher=Watch(), poll_seconds=0.01, save=save).run()
    early, late = counts[1] - counts[0], counts[-1] - counts[-2]
    assert late < 1.2 * early


def test_trials_of_a_database_are_read_once(tmp_path, monkeypatch):
    """Of all that are there, a list was made at each look."""
    rows = []
    read = RDBStorage._get_trials

    def counted(self, *args, **options):
        found = read(self, *args, **options)
        rows.append(len(found))
        return found

    monkeypatch.setattr(RDBStorage, '_get_trials', counted)
    listed = []
    list_all = _CachedStorage.get_all_trials

    def listing(self, *args, **options):
        found = list_all(self, *args, **options)
        listed.append(len(found))
        return found

    monkeypatch.setattr(_CachedStorage, 'get_all_trials', listing)
    plan = settings(Toy(4, 4), [Stage(budget=12, population=6)])
    Searcher(
        plan,
        estimate,
        Smooth(plan.space),
        StudyStorage(f'sqlite:///{tmp_path}/search.db', plan, shared=True),
        poll_seconds=0.01,
    ).run()
    assert max(listed) <= 1
    assert max(rows) <= 2


@with_settings(max_examples=10)
@given(st.integers(0, 100))
def test_one_proposer_proposes_what_a_new_one_does(seed):
    """From the same history, without what the other has kept of the generations before."""
    stages = [
        Stage('coarse', RandomSampler(), 20, 10, rank_by=COST),
        Stage('fine', Evolution(num_parents=3), 40, 10, skeletons=Skeletons('coarse', 3, False)),
    ]
    plan = settings(Toy(4, 4), stages, (TOP1, COST), seed=seed, constraints=[Constraint('params_m', max=8)])
    history = []
    for stage in plan.stages:
        proposer = Proposer(plan, stage, estimate)
        for generation, size in stage.generations():
            proposals, shortage = proposer.propose(generation, size, history)
            history += [p if stage.rank_by else p.evaluated(Smooth(plan.space)(p.arch)) for p in proposals]
            if shortage:
                break
    assert history == in_memory(plan, Smooth(plan.space))
