"""Which networks an audit takes, and what it says of two rankings."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmhybrid.search import Candidate, Objective
from mmhybrid.search.audit import audit, stratified
from mmhybrid.space import Arch

HIGH, LOW = Objective('top1'), Objective('loss', 'minimize')
SCORES = st.lists(st.floats(-100, 100).map(lambda score: round(score, 3)), min_size=1, max_size=40)


def candidates(scores: list[float]) -> list[Candidate]:
    return [Candidate('s', 0, i, Arch({'g': i}), {}, {'top1': score, 'loss': score}) for i, score in enumerate(scores)]


@given(SCORES, st.data(), st.integers(0, 3), st.sampled_from([HIGH, LOW]))
def test_the_whole_range_of_scores_is_covered(
    scores: list[float], data: st.DataObject, seed: int, objective: Objective
) -> None:
    count = data.draw(st.integers(1, len(scores)))
    chosen = stratified(candidates(scores), objective, count, random.Random(seed))
    assert len({candidate.key for candidate in chosen}) == count
    found = [candidate.numbers[objective.name] for candidate in chosen]
    assert found == sorted(found, reverse=objective is HIGH)
    width = (max(scores) - min(scores)) / count
    assert all(min(abs(score - other) for other in found) <= width + 1e-9 for score in scores)
    assert chosen == stratified(candidates(scores), objective, count, random.Random(seed))


def test_every_network_of_a_part_may_be_drawn() -> None:
    pool = candidates([0, 1, 2, 98, 99, 100])
    drawn = {c.numbers['top1'] for seed in range(50) for c in stratified(pool, HIGH, 2, random.Random(seed))}
    assert drawn == {0, 1, 2, 98, 99, 100}


def test_more_than_there_are_is_a_mistake() -> None:
    with pytest.raises(ValueError, match='count: got 4, allowed: an int from 1 to 3'):
        stratified(candidates([1, 2, 3]), HIGH, 4, random.Random(0))


def test_figures_follow_from_their_definitions() -> None:
    supernet = [50.0, 40.0, 30.0, 20.0]
    figures = audit(supernet, [70.0, 72.0, 75.0, 60.0], HIGH, top=2)
    # of six pairs, (50, 40), (50, 30) and (40, 30) change their order
    assert figures.kendall_tau == 0
    assert figures.regret == pytest.approx(75 - 72)
    assert (figures.count, figures.top) == (4, 2)
    assert figures.kendall_tau_low <= 0 <= figures.kendall_tau_high
    assert audit(supernet, [70.0, 72.0, 75.0, 60.0], HIGH, top=3).regret == 0
    assert audit([5.0, 4.0], [1.0, 3.0], LOW, top=1).regret == pytest.approx(3 - 1)


@settings(max_examples=20)  # each draws thousands of samples
@given(SCORES.filter(lambda scores: len(scores) > 1), st.data())
def test_regret_is_never_negative_and_ends_with_all(scores: list[float], data: st.DataObject) -> None:
    after = data.draw(st.permutations(scores))
    regrets = [audit(scores, after, HIGH, top).regret for top in (1, len(scores))]
    assert regrets[0] >= regrets[1] == 0


def test_warnings_say_what_speaks_against_the_ranking() -> None:
    scores = [float(i) for i in range(12)]
    assert audit(scores, scores, HIGH, top=3).warning() == ''
    assert 'the wrong way round' in audit(scores, scores[::-1], HIGH, top=3).warning()
    shuffled = random.Random(1).sample(scores, 12)
    assert 'includes 0: on these 12 networks' in audit(scores, shuffled, HIGH, top=3).warning()
    assert 'includes 0' in audit(scores, [1.0] * 12, HIGH, top=3).warning()


def test_a_network_that_failed_counts_as_the_worst() -> None:
    figures = audit([3.0, 2.0, 1.0], [math.nan, 20.0, 10.0], HIGH, top=1)
    assert figures == audit([3.0, 2.0, 1.0], [9.0, 20.0, 10.0], HIGH, top=1)


@pytest.mark.parametrize('which', [0, 1])
def test_scores_that_do_not_rank_are_told(which: int) -> None:
    def told(scores: list[float]) -> str:
        both = [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]
        both[which] = scores
        figures = audit(*both, HIGH, top=1)
        assert all(math.isfinite(value) for value in (figures.kendall_tau, figures.kendall_tau_low, figures.regret))
        return figures.warning()

    when = ('in the supernet', 'after training')[which]
    assert told([5.0, 5.0, 5.0]).startswith(f'all scores {when} are equal, 5: they rank nothing; ')
    for bad in (math.nan, math.inf, -math.inf):
        assert told([5.0, bad, 4.0]).startswith(f'1 of 3 networks have no score {when} and count as the worst; ')
    with pytest.raises(ValueError, match=f'top1 {when}: none of 3 networks has a score'):
        told([math.nan] * 3)
