"""Evaluations that raise, and signals that end a process while it evaluates."""

import os
import signal
import time

import numpy as np
import pytest
from search_toys import AUTOVIT, TOP1, Smooth, estimate, in_memory, search, settings

from mmhybrid.search import Candidate, Objective, Searcher, SearchError, Stage, StudyStorage
from mmhybrid.search.proposals import propose
from mmhybrid.space import Arch
from mmhybrid.utils.signals import exit_on_sigterm

PLAN = settings(AUTOVIT, [Stage(budget=12, population=6)])
PROPOSALS, _ = propose(PLAN, PLAN.stages[0], 0, 6, [], estimate)


class Failing(Smooth):
    """Raises for the networks of the first generation at some places, each so many times."""

    def __init__(self, *places, times=1000):
        super().__init__(AUTOVIT)
        self.left = {PROPOSALS[place].arch: times for place in places}

    def __call__(self, arch):
        found = super().__call__(arch)
        if self.left.get(arch, 0):
            self.left[arch] -= 1
            raise RuntimeError('wrapped') from ValueError(f'too small: {arch["stem.width"]}\nmore')
        return found


def run(folder, evaluate, shared=False, resume=False, **options):
    storage = StudyStorage(folder / 'search.journal', PLAN, shared=shared, resume=resume)
    return Searcher(PLAN, estimate, evaluate, storage, poll_seconds=0.01, **options).run()


@pytest.mark.parametrize('shared', [False, True])
def test_what_raises_once_is_tried_again(tmp_path, shared):
    history = run(tmp_path, Failing(1, 4, times=1), shared).history
    assert list(history) == in_memory(PLAN, Smooth(AUTOVIT))


@pytest.mark.parametrize('shared', [False, True])
def test_what_raises_always_is_recorded_with_its_reason(tmp_path, shared, caplog):
    scores = Failing(0, 4)
    result = run(tmp_path, scores, shared)
    assert [c.failure.split(':')[:2] for c in result.history if c.failure] == [['ValueError', ' too small']] * 2
    assert [c.index for c in result.history if c.failure] == [0, 4]
    assert len(result.top()) == 10
    assert len(scores.calls) == 14
    assert 'Traceback' in caplog.text
    again = Smooth(AUTOVIT)
    resumed = run(tmp_path, again, shared, resume=True)
    assert not again.calls
    assert repr(resumed.history) == repr(result.history)


@pytest.mark.parametrize('shared', [False, True])
def test_a_share_of_failures_ends_the_search_with_all_reasons(tmp_path, shared):
    def fail(arch):
        raise ValueError(f'kind {arch["stem.width"] % 16 == 0}')

    with pytest.raises(SearchError, match=r'3 of 3 evaluations failed, .*0\.2 \(max_failed\).*: \d x ValueError: kind'):
        run(tmp_path, fail, shared)
    with pytest.raises(SearchError, match='4 of 4 evaluations failed'):
        run(tmp_path, fail, shared, resume=True)
    with pytest.raises(SearchError, match='6 of 6 evaluations'):
        run(tmp_path, fail, shared, resume=True, max_failed=0.5)


def test_none_may_fail_where_so_set(tmp_path):
    scores = Failing(3)
    with pytest.raises(SearchError, match='evaluations failed') as ended:
        run(tmp_path, scores, max_failed=0, evaluation_tries=5)
    assert f'1 of {len(scores.calls) - 4} evaluations' in str(ended.value)


def test_a_failure_hides_no_typo_in_an_objective(tmp_path):
    def evaluate(arch):
        if arch == PROPOSALS[0].arch:
            raise ValueError('no')
        return {'accuracy': 1.0}

    with pytest.raises(ValueError, match=r"'top1'.*accuracy"):
        run(tmp_path, evaluate)


def test_what_failed_is_not_ranked_by_its_costs(tmp_path):
    plan = settings(AUTOVIT, [Stage(budget=6, population=6)], [Objective('params_m', 'minimize')])
    result = search(tmp_path, plan, Failing(0))
    assert len(result.top()) == 5
    assert search(tmp_path, plan, None, resume=True).top() == result.top()


def test_sigterm_releases_the_claim(tmp_path):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with exit_on_sigterm():
                run(tmp_path, lambda arch: (tmp_path.joinpath('at work').touch(), time.sleep(60)), shared=True)
        except SystemExit as error:
            code = error.code
        finally:
            os._exit(code)
    while not (tmp_path / 'at work').exists():
        time.sleep(0.01)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM
    storage = StudyStorage(tmp_path / 'search.journal', PLAN, shared=True)
    storage.open()
    assert storage.claim(PROPOSALS)[1] == PROPOSALS[0]
    storage.close()


def test_forked_processes_end_on_sigterm_as_ever():
    before = signal.getsignal(signal.SIGTERM)
    with exit_on_sigterm():
        child = os.fork()
        if child == 0:
            try:
                time.sleep(60)
            finally:
                os._exit(0)
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize('kind', [np.float32, np.float16, np.int64, np.float64])
def test_scalars_of_numpy_are_scores(tmp_path, kind):
    candidate = Candidate('search', 0, 0, Arch({'a': 1}), {}).evaluated({'top1': kind(3)})
    assert candidate.losses([TOP1]) == (-3.0,)
    assert type(candidate.metrics['top1']) is float
    with pytest.raises(ValueError, match='top1'):
        candidate.evaluated({'top1': np.bool_(True)})
    plan = settings(AUTOVIT, [Stage(budget=2, population=2)])
    storage = StudyStorage(tmp_path / 'search.journal', plan)
    costs = {name: kind(2) for name in estimate(PROPOSALS[0].arch)}
    result = Searcher(plan, lambda arch: costs, lambda arch: {'top1': kind(3)}, storage).run()
    assert result.best.numbers == {'params_m': 2, 'macs_m': 2, 'top1': 3}
