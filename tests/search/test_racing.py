"""Evaluations that stop early: their probability of error, and searches that find the same networks."""

import random

import pytest
import scipy.stats
import search_toys as toys
from hypothesis import given, settings
from hypothesis import strategies as st

from mmhybrid.search import Candidate, Evolution, Objective, Racing, Searcher, SearchSettings, Stage, StudyStorage
from mmhybrid.search.config import settings_from_data
from mmhybrid.search.racing import IMAGES_SEEN, PARTS, hypergeometric_cdf, is_stopped

TOP1 = Objective('accuracy/top1')
RACING = Racing('accuracy/top1', error=0.05, keep=3)
NUM_IMAGES = 200


@given(st.integers(1, 3000), st.data())
@settings(max_examples=200, deadline=None)
def test_the_probability_is_scipys(total, data):
    marked, drawn = data.draw(st.integers(0, total)), data.draw(st.integers(1, total))
    right = data.draw(st.integers(0, drawn))
    expected = scipy.stats.hypergeom.cdf(right, total, marked, drawn)
    assert hypergeometric_cdf(right, total, marked, drawn) == pytest.approx(expected, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(('score', 'seen', 'floor'), [(60.0, 5000, 10.0), (80.0, 25000, 70.0), (71.0, 45000, 70.0)])
def test_a_network_far_above_the_floor_goes_on(score, seen, floor):
    """So good a score is as improbable for a network on the floor as no float can say."""
    right, wanted = round(score / 100 * seen), round(floor / 100 * 50000)
    assert hypergeometric_cdf(right, 50000, wanted, seen) == scipy.stats.hypergeom.cdf(right, 50000, wanted, seen)
    assert not Racing('top1').is_lost(score, seen, 50000, floor)


def race(answers, racing, floor):
    """The number of images after which a network with these answers, in this order, is stopped; None if it is not."""
    for part in range(1, PARTS):
        seen = len(answers) * part // PARTS
        if racing.is_lost(100 * sum(answers[:seen]) / seen, seen, len(answers), floor):
            return seen
    return None


@pytest.mark.parametrize('error', [0.01, 0.05, 0.2])
def test_a_network_on_the_floor_is_stopped_with_no_more_than_the_stated_probability(error):
    rng, racing, runs, num_right = random.Random(0), Racing('top1', error), 3000, 330
    answers = [True] * num_right + [False] * (500 - num_right)
    stopped = 0
    for _ in range(runs):
        rng.shuffle(answers)
        stopped += race(answers, racing, 100 * num_right / len(answers)) is not None
    # at most as many as a fair coin of that probability gives in all but one of a thousand such tests
    assert stopped <= scipy.stats.binom.ppf(0.999, runs, error)


def test_a_much_worse_network_is_stopped_soon():
    rng, answers = random.Random(0), [True] * 200 + [False] * 300
    seen = []
    for _ in range(200):
        rng.shuffle(answers)
        seen.append(race(answers, Racing('top1'), 66) or len(answers))
    assert sum(seen) / len(seen) < len(answers) / 4


def candidate(score, cost, seen=None):
    metrics = {'top1': score} if seen is None else {'top1': score, IMAGES_SEEN: seen}
    return Candidate('search', 0, 0, toys.AUTOVIT.smallest(), {'macs_m': cost}, metrics)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=12),
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_the_floor_is_the_score_below_which_as_many_networks_dominate(rows, cost, keep):
    objectives = [Objective('top1'), Objective('macs_m', 'minimize')]
    history = [candidate(score, own, 9 if early else None) for score, own, early in rows]
    floor = Racing('top1', keep=keep).floor(candidate(None, cost), history, objectives)
    rivals = [score for score, own, early in rows if own <= cost and not early]
    for score in range(6):
        is_beaten = sum(rival > score for rival in rivals) >= keep
        assert (floor is not None and score < floor) == is_beaten


class Answers:
    """Networks whose right answers a score and chance decide; ``calls`` has the number of images of each evaluation."""

    def __init__(self):
        self.smooth = toys.Smooth(toys.AUTOVIT)
        self.calls = []

    def answers(self, arch):
        share = 0.9 + 1.2 * self.smooth(arch)['top1']
        rng = random.Random(arch.to_json())
        return [rng.random() < share for _ in range(NUM_IMAGES)]

    def __call__(self, arch, floor=None):
        answers = self.answers(arch)
        seen = None if floor is None else race(answers, RACING, floor)
        self.calls.append(seen or NUM_IMAGES)
        metrics = {} if seen is None else {IMAGES_SEEN: seen}
        seen = seen or NUM_IMAGES
        return {'accuracy/top1': 100 * sum(answers[:seen]) / seen, **metrics}


def plan_of(racing):
    stages = [Stage(sampler=Evolution(num_parents=3), budget=120, population=20)]
    return toys.settings(toys.AUTOVIT, stages, [TOP1], racing=racing)


def test_a_search_with_racing_finds_the_same_networks_on_fewer_images(tmp_path):
    plainly, raced = Answers(), Answers()
    (tmp_path / 'plain').mkdir()
    expected = toys.search(tmp_path / 'plain', plan_of(None), plainly)
    found = toys.search(tmp_path, plan_of(RACING), raced)
    assert [each.arch for each in found.top(3)] == [each.arch for each in expected.top(3)]
    assert [each.arch for each in found.history] == [each.arch for each in expected.history]
    assert sum(raced.calls) < 0.8 * sum(plainly.calls)
    stopped = [each for each in found.history if is_stopped(each)]
    assert stopped
    assert not {each.key for each in stopped} & {each.key for each in found.top()}
    assert IMAGES_SEEN not in (tmp_path / 'search.journal').read_text().splitlines()[0]


@pytest.mark.parametrize('shared', [False, True])
def test_a_search_with_racing_resumes_exactly(tmp_path, shared):
    (tmp_path / 'whole').mkdir()
    expected = toys.search(tmp_path / 'whole', plan_of(RACING), Answers())
    answers, ends_at = Answers(), 70

    def interrupted(arch, floor=None):
        if len(answers.calls) == ends_at:
            raise KeyboardInterrupt
        return answers(arch, floor)

    with pytest.raises(KeyboardInterrupt):
        toys.search(tmp_path, plan_of(RACING), interrupted, shared=shared)
    found = toys.search(tmp_path, plan_of(RACING), answers, resume=True, shared=shared)
    assert found.history == expected.history


def test_the_settings_have_racing_only_where_it_is_wanted_and_it_may_not_change():
    assert 'racing' not in plan_of(None).to_config()
    stored = plan_of(RACING).to_config()
    assert settings_from_data(stored).racing == RACING
    assert settings_from_data(stored).to_config() == stored
    assert 'racing' in plan_of(None).why_not_continued(stored, {'search': 1})
    assert not plan_of(RACING).why_not_continued(stored, {'search': 1})


@pytest.mark.parametrize(
    ('racing', 'message'),
    [
        ({'metric': 'top5'}, "racing.metric: got 'top5'"),
        ({'metric': 'params_m'}, "racing.metric: got 'params_m'"),
        ({'metric': 'accuracy/top1', 'error': 0.7}, 'racing.error: got 0.7'),
        ({'metric': 'accuracy/top1', 'keep': 0}, 'racing.keep: got 0'),
        ({'error': 0.1}, 'racing: missing metric'),
    ],
)
def test_wrong_settings_are_named(racing, message):
    config = {**plan_of(None).to_config(), 'racing': racing}
    config['objectives'] = [{'name': 'accuracy/top1'}, {'name': 'params_m', 'direction': 'minimize'}]
    with pytest.raises(ValueError, match=message):
        settings_from_data(config)


def test_a_metric_that_is_no_percentage_of_images_is_refused():
    with pytest.raises(ValueError, match=r'racing\.metric'):
        RACING.is_lost(33.0, 20, NUM_IMAGES, 50)


def test_two_metrics_cannot_race(tmp_path):
    objectives = [TOP1, Objective('accuracy/top5')]
    plan = SearchSettings(toys.AUTOVIT, plan_of(None).stages, objectives, racing=RACING)
    with pytest.raises(ValueError, match="racing: got 'accuracy/top5'"):
        Searcher(
            plan,
            toys.estimate,
            lambda arch: {'accuracy/top1': 50.0, 'accuracy/top5': 80.0},
            StudyStorage(tmp_path / 'search.journal', plan),
        ).run()
