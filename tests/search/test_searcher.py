"""The search as a whole: the same history whatever happens, staged search on real spaces, several ranks."""

import json
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from mmengine.config import Config
from search_toys import (
    AUTOVIT,
    TOP1,
    Smooth,
    Toy,
    as_evaluated,
    estimate,
    in_memory,
    random_stage,
    search,
    settings,
    stored_trials,
)
from work import lines_run

import mmhybrid.search
from mmhybrid.search import (
    BlockEvolution,
    Constraint,
    Evolution,
    Fix,
    Objective,
    OptunaSampler,
    RandomSampler,
    Searcher,
    SearchError,
    Skeletons,
    Stage,
    StudyStorage,
    Team,
)
from mmhybrid.search.config import build_settings, settings_from_data
from mmhybrid.search.proposals import propose
from mmhybrid.space import GLiTSpace
from mmhybrid.space.glit import FIXED

GLIT = GLiTSpace(num_blocks=6)
HIERARCHICAL = [
    Stage(
        'distribution',
        Evolution(),
        budget=60,
        population=20,
        restrict={f'blocks.*.{name}': value for name, value in FIXED['conv1d'].items()},
    ),
    Stage(
        'detail',
        Evolution(),
        budget=60,
        population=20,
        space=GLiTSpace(num_blocks=6, level='detail'),
        fix=Fix('distribution', ('blocks.*.num_attn_heads',), rank=1),
    ),
]
COARSE_TO_FINE = [
    Stage('coarse', RandomSampler(), budget=300, population=300, rank_by=Objective('macs_m')),
    Stage('fine', BlockEvolution(), budget=60, population=20, skeletons=Skeletons('coarse', 8, stratify=False)),
]
BUDGETS = [Constraint('params_m', max=620.0)]
# A search as a config has it.
CONFIG = {
    'space': {'type': 'mmhybrid.GLiTSpace', 'num_blocks': 6},
    'stages': {
        'coarse': {'sampler': {'type': 'RandomSampler'}, 'budget': 20, 'rank_by': {'name': 'macs_m'}},
        'fine': {'sampler': {'type': 'Evolution'}, 'budget': 60, 'skeletons': {'stage': 'coarse'}},
    },
    'objectives': [{'name': 'top1'}],
    'constraints': {'params_m': {'max': 5}, 'macs_m': {'min': 1}},
}


def depths(space, arch):
    return {name: value for name, value in arch.items() if space.choices[name].is_depth}


# One history


@pytest.mark.parametrize('sampler', [RandomSampler(), Evolution(), OptunaSampler(), OptunaSampler('TPESampler')])
def test_same_settings_same_history(tmp_path, sampler):
    plan = settings(AUTOVIT, [random_stage(sampler=sampler)])
    first, second = (search(tmp_path / name, plan) for name in 'ab')
    assert first.history == second.history
    assert stored_trials(tmp_path / 'a') == stored_trials(tmp_path / 'b')
    other = settings(AUTOVIT, [random_stage(sampler=sampler)], seed=1)
    assert search(tmp_path / 'c', other).history != first.history


def test_history_does_not_depend_on_the_hash_seed():
    script = """
import sys; sys.path.insert(0, sys.argv[1])
from search_toys import *
from mmhybrid.search import Evolution
plan = settings(AUTOVIT, [random_stage(sampler=Evolution(num_parents=4))])
print([c.arch.to_json() for c in in_memory(plan, Smooth(AUTOVIT))])
"""
    other = '1' if os.environ.get('PYTHONHASHSEED') != '1' else '2'  # than this process has
    done = subprocess.run(
        [sys.executable, '-c', script, str(Path(__file__).parent)],
        env={**os.environ, 'PYTHONHASHSEED': other},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    plan = settings(AUTOVIT, [random_stage(sampler=Evolution(num_parents=4))])
    assert done.stdout == f'{[c.arch.to_json() for c in in_memory(plan, Smooth(AUTOVIT))]}\n'


def test_a_generation_depends_on_completed_ones_only():
    plan = settings(AUTOVIT, [random_stage(sampler=Evolution())])
    stage, history = plan.stages[0], in_memory(plan, Smooth(AUTOVIT))
    for generation, size in stage.generations():
        before = [candidate for candidate in history if candidate.generation < generation]
        proposals, _ = propose(plan, stage, generation, size, before, estimate)
        assert [c.arch for c in proposals] == [c.arch for c in history if c.generation == generation]


def test_every_evaluated_candidate_is_ranked_the_last_generation_too(tmp_path):
    class Rising(Smooth):
        """Each evaluation scores higher than the one before."""

        def __call__(self, arch):
            super().__call__(arch)
            return {'top1': float(len(self.calls))}

    result = search(tmp_path, settings(AUTOVIT), Rising(AUTOVIT))
    assert [candidate.metrics['top1'] for candidate in result.top()] == [float(i) for i in range(40, 0, -1)]
    assert result.best.generation == 3


def test_failed_evaluations_are_kept_but_not_ranked_nor_repeated(tmp_path):
    class Flaky(Smooth):
        def __call__(self, arch):
            score = super().__call__(arch)
            return {'top1': math.nan} if len(self.calls) % 3 == 0 else score

    scores, again = Flaky(AUTOVIT), Smooth(AUTOVIT)
    result = search(tmp_path, settings(AUTOVIT), scores)
    assert len(result.evaluated) == 40
    assert len(result.top()) == 27
    resumed = search(tmp_path, settings(AUTOVIT), again, resume=True)
    assert not again.calls
    assert [c.arch for c in resumed.history] == [c.arch for c in result.history]


@pytest.mark.parametrize(
    ('metrics', 'named'), [({'loss': 1.0}, 'top1'), ({'top1': 'high'}, 'top1'), ({'macs_m': 1.0}, 'macs_m')]
)
def test_metrics_are_checked(tmp_path, metrics, named):
    with pytest.raises(ValueError, match=named):
        search(tmp_path, settings(AUTOVIT), lambda arch: metrics)


# Stages


def test_hierarchical_search_of_glit(tmp_path):
    scores = Smooth(GLIT, target=1.0)
    result = search(tmp_path, settings(GLIT, HIERARCHICAL), scores)
    first = [c for c in result.history if c.stage == 'distribution']
    second = [c for c in result.history if c.stage == 'detail']
    assert len(first) == len(second) == 60
    assert len(set(scores.calls)) == len(scores.calls) == 120
    for candidate in first:
        assert all(value == FIXED['conv1d'].get(name.split('.')[2], value) for name, value in candidate.arch.items())
    runner_up = sorted(first, key=lambda c: -c.metrics['top1'])[1].arch
    heads = {name: value for name, value in runner_up.items() if name.endswith('num_attn_heads')}
    detail = GLiTSpace(num_blocks=6, level='detail').restrict(heads)
    assert all(detail.contains(candidate.arch) for candidate in second)
    assert result.best in second


def test_coarse_to_fine_search_of_autovit(tmp_path):
    scores = Smooth(AUTOVIT)
    result = search(tmp_path, settings(AUTOVIT, COARSE_TO_FINE, constraints=BUDGETS), scores)
    coarse = [c for c in result.history if c.stage == 'coarse']
    fine = [c for c in result.history if c.stage == 'fine']
    assert len(coarse) == 300
    assert set(scores.calls) == {c.arch for c in fine}
    assert len(scores.calls) == len(result.evaluated) == 60
    assert all(c.estimates['params_m'] <= 620 for c in result.history)

    largest = {}
    for candidate in sorted(coarse, key=lambda c: -c.estimates['macs_m']):
        largest.setdefault(json.dumps(depths(AUTOVIT, candidate.arch)), candidate.arch)
    skeletons = list(largest.values())[:8]
    begun = {c.arch for c in fine if c.generation == 0}
    assert begun >= set(skeletons)
    # the others of the first generation are children of the skeletons
    shared = [max(sum(s.get(n) == v for n, v in arch.items()) / len(arch) for s in skeletons) for arch in begun]
    assert min(shared) > 0.4


def test_too_few_results_for_the_next_stage_are_an_error(tmp_path):
    stages = [random_stage(name='a', budget=3), Stage('b', fix=Fix('a', ('genes.*',), rank=5))]
    with pytest.raises(SearchError, match=r"'b'.*rank 5.*'a'.*only 3"):
        search(tmp_path, settings(Toy(), stages))


@pytest.mark.parametrize(
    ('stages', 'named'),
    [
        ([], 'stages'),
        ([Stage('a'), Stage('a')], 'stages'),
        ([Stage('a', fix=Fix('b', ('x',))), Stage('b')], 'b'),
    ],
)
def test_stages_are_checked(stages, named):
    with pytest.raises(ValueError, match=named):
        settings_of(stages)


@pytest.mark.parametrize(
    ('build', 'named'),
    [
        (lambda: Stage(''), 'stage'),
        (lambda: Stage(budget=0), 'budget'),
        (lambda: Stage(population=2.5), 'population'),
        (lambda: Fix('a', 'blocks.*'), 'fix.genes'),
        (lambda: Fix('a', ('x',), rank=-1), 'fix.rank'),
        (lambda: Skeletons('a', 0), 'skeletons.count'),
        (lambda: settings(Toy(), objectives=()), 'objectives'),
        (lambda: settings(Toy(), objectives=(TOP1, TOP1)), 'objectives'),
        (lambda: settings(Toy(), max_tries=0), 'max_tries'),
        (lambda: settings(Toy(), seed=-1), 'seed'),
    ],
)
def test_arguments_are_checked(build, named):
    with pytest.raises(ValueError, match=named):
        build()


def test_a_stage_outside_the_space_of_the_search_is_an_error(tmp_path):
    plan = settings(Toy(3, 3), [Stage(space=Toy(3, 5))])
    with pytest.raises(ValueError, match=r'genes\..*allowed'):
        search(tmp_path, plan)


def settings_of(stages):
    return mmhybrid.search.SearchSettings(Toy(), stages, [TOP1])


@pytest.mark.parametrize(
    'stages',
    [HIERARCHICAL, [Stage('flat', budget=30)], [Stage('r', RandomSampler(), restrict={'*.mlp_ratio': [2, 4]})]],
)
def test_settings_survive_a_round_through_json(stages):
    plan = settings(GLIT, stages, constraints=BUDGETS)
    rebuilt = settings_from_data(json.loads(json.dumps(plan.to_config())))
    assert rebuilt.to_config() == plan.to_config()
    assert [c.arch for c in in_memory(rebuilt, Smooth(GLIT))[:30]] == [
        c.arch for c in in_memory(plan, Smooth(GLIT))[:30]
    ]


def test_a_typo_in_a_config_is_named():
    with pytest.raises(ValueError, match='stage a: surplus buget'):
        build_settings({**CONFIG, 'stages': {'a': {'sampler': {'type': 'Evolution'}, 'buget': 3}}})


def test_an_unknown_sampler_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"sampler\.type: got 'Foo'.*BlockEvolution.*Evolution.*RandomSampler"):
        build_settings({**CONFIG, 'stages': {'a': {'sampler': {'type': 'Foo'}}}})


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('stages', {'a': {'sampler': {'type': 'Evolution'}, 'nmae': 1}}),
        ('objectives', [{'name': 'a', 'nmae': 1}]),
        ('constraints', {'a': {'nmae': 1}}),
    ],
)
def test_a_key_that_nothing_takes_is_named(key, value):
    with pytest.raises(ValueError, match='surplus nmae'):
        build_settings({**CONFIG, key: value})
    if key != 'objectives':
        with pytest.raises(ValueError, match=rf"{key}\.a\.name: got 'b'"):
            build_settings({**CONFIG, key: {'a': {'name': 'b'}}})


def test_stages_and_constraints_stand_under_their_names():
    """A config changes one of them without repeating the others, and leaves out those that are None."""
    child = {'stages': {'fine': {'budget': 8}}, 'constraints': {'latency_ms': {'max': 12.5}, 'macs_m': None}}
    merged = Config(CONFIG)
    merged.merge_from_dict({**child, 'stages.on': {'sampler': {'type': 'RandomSampler'}, 'budget': 3, 'population': 3}})
    plan = build_settings(merged.to_dict())
    assert [(stage.name, stage.budget) for stage in plan.stages] == [('coarse', 20), ('fine', 8), ('on', 3)]
    assert list(plan.constraints) == [Constraint('params_m', max=5), Constraint('latency_ms', max=12.5)]
    assert build_settings(CONFIG).to_config() == settings_from_data(build_settings(CONFIG).to_config()).to_config()


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('stages', [{'name': 'a'}], r'stages: got \[.*allowed: a dict of dicts by name, such as stages=dict\(coarse='),
        ('constraints', [{'name': 'macs_m', 'max': 3}], r'got \[.* such as constraints=dict\(latency_ms=dict'),
        ('constraints', {'macs_m': 3}, r'constraints\.macs_m: got 3, allowed: a Mapping'),
    ],
)
def test_lists_of_stages_and_constraints_are_refused(key, value, message):
    """Of before 0.2.0; the message shows how they are written now."""
    with pytest.raises(ValueError, match=message):
        build_settings({**CONFIG, key: value})


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('constraints.0.max', 3, r"name in constraints: got '0', allowed: a name, not a place"),
        ('stages.1.budget', 3, r"name in stages: got '1', allowed: a name, not a place"),
        ('stages.fien.budget', 3, r"stages\.fien\.sampler: got None, allowed: .*no stage of the name 'fien'"),
    ],
)
def test_options_that_reach_no_stage_or_constraint_are_refused(option, value, message):
    """MMEngine adds what is not there, which would be one more stage, of a thousand candidates."""
    config = Config(CONFIG)
    config.merge_from_dict({option: value})
    with pytest.raises(ValueError, match=message):
        build_settings(config.to_dict())


# Ranks


def in_ranks(plan, folder, evaluate, count=2):
    """Run the search in forked processes connected by pipes; what each returned or raised."""
    context = multiprocessing.get_context('fork')
    to_lead = [context.Pipe(duplex=True) for _ in range(count)]
    answers = context.Queue()

    def gather_on(rank):
        def gather(value):
            if rank:
                to_lead[rank][1].send(value)
                return to_lead[rank][1].recv()
            values = [value, *(to_lead[other][0].recv() for other in range(1, count))]
            for other in range(1, count):
                to_lead[other][0].send(values)
            return values

        return gather

    def work(rank):
        team = Team(rank, count, gather_on(rank))
        try:
            answers.put((rank, search(folder, plan, lambda arch: evaluate(arch, rank), team=team).history))
        except Exception as error:
            answers.put((rank, f'{type(error).__name__}: {error}'))

    processes = [context.Process(target=work, args=(rank,), daemon=True) for rank in range(count)]
    for process in processes:
        process.start()
    received = dict(answers.get(timeout=50) for _ in processes)
    for process in processes:
        process.join(timeout=10)
    return [received[rank] for rank in range(count)]


@pytest.mark.parametrize('stages', [COARSE_TO_FINE, [random_stage(sampler=OptunaSampler(), budget=25)]])
def test_one_and_two_ranks_have_the_same_history(tmp_path, stages):
    plan = settings(AUTOVIT, stages, constraints=BUDGETS)
    alone = search(tmp_path / 'one', plan)
    both = in_ranks(plan, tmp_path / 'two', lambda arch, rank: Smooth(AUTOVIT)(arch))
    assert both[0] == both[1] == alone.history
    assert stored_trials(tmp_path / 'one') == stored_trials(tmp_path / 'two')


def test_a_search_of_two_ranks_resumes_on_one(tmp_path):
    plan = settings(AUTOVIT)
    whole = search(tmp_path / 'whole', plan)

    def stop(arch, rank):
        if arch == as_evaluated(whole.history)[17].arch:
            raise SearchError('stop here')
        return Smooth(AUTOVIT)(arch)

    in_ranks(plan, tmp_path / 'part', stop)
    scores = Smooth(AUTOVIT)
    assert search(tmp_path / 'part', plan, scores, resume=True).history == whole.history
    assert 0 < len(scores.calls) <= 40 - 16


@pytest.mark.parametrize('rank', [0, 1])
def test_an_error_on_one_rank_ends_all(tmp_path, rank):
    def evaluate(arch, at):
        if at == rank:
            raise SearchError('no memory left')
        return {'top1': 0.0}

    ends = in_ranks(settings(AUTOVIT), tmp_path, evaluate)
    assert ends[rank] == 'SearchError: no memory left'
    assert ends[1 - rank] == f'SearchError: rank {rank} ended with SearchError: no memory left'


def test_impossible_constraints_end_all_ranks(tmp_path):
    plan = settings(AUTOVIT, constraints=[Constraint('params_m', max=0)], max_tries=20)
    ends = in_ranks(plan, tmp_path, lambda arch, rank: {'top1': 0.0})
    assert all('params_m <= 0: 100.0%' in end for end in ends)


def test_several_processes_share_a_search(tmp_path):
    """Nothing is evaluated twice, and here, where scores are exact, they even find the same."""
    plan = settings(AUTOVIT, [Stage(budget=24, population=12)])
    scores = [Smooth(AUTOVIT) for _ in range(3)]
    results = {}

    def slowly(score):
        def evaluate(arch):
            time.sleep(0.01)
            return score(arch)

        return evaluate

    def work(place):
        results[place] = search(tmp_path, plan, slowly(scores[place]), shared=True).history

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=50)
    calls = [arch for score in scores for arch in score.calls]
    assert len(calls) == len(set(calls)) == 24
    assert sum(bool(score.calls) for score in scores) >= 2
    assert results[0] == results[1] == results[2]


def test_several_processes_share_a_database_that_none_has_made_yet(tmp_path):
    plan = settings(Toy(4, 4), [Stage(budget=6, population=3)])
    context = multiprocessing.get_context('fork')
    answers = context.Queue()

    def work():
        storage = StudyStorage(f'sqlite:///{tmp_path}/search.db', plan, shared=True)
        try:
            result = Searcher(plan, estimate, Smooth(plan.space), storage, poll_seconds=0.05).run()
            answers.put([(candidate.key, candidate.arch) for candidate in result.history])
        except Exception as error:
            answers.put(str(error))

    processes = [context.Process(target=work, daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = (answers.get(timeout=50) for _ in processes)
    for process in processes:
        process.join(timeout=10)
    assert first == second
    assert len(first) == 6


def test_a_claim_of_the_dead_is_taken_over(tmp_path):
    plan = settings(AUTOVIT, [Stage(budget=6, population=6)])
    proposals, _ = propose(plan, plan.stages[0], 0, 6, [], estimate)
    dead = StudyStorage(tmp_path / 'j', plan, shared=True)
    dead.open()
    assert dead.claim(proposals)[1] == proposals[0]
    assert dead.claim(proposals)[1] == proposals[1]
    dead.close()
    alive = StudyStorage(tmp_path / 'j', plan, shared=True, claim_hours=0)
    result = Searcher(plan, estimate, Smooth(AUTOVIT), alive, poll_seconds=0.01).run()
    assert len(result.evaluated) == 6


class Killed(BaseException):
    pass


def killed(*args):
    raise Killed


def test_a_candidate_whose_process_died_before_its_state_counts(tmp_path, monkeypatch):
    plan = settings(AUTOVIT, [Stage(budget=6, population=6)])
    proposals, _ = propose(plan, plan.stages[0], 0, 6, [], estimate)
    dead = StudyStorage(tmp_path / 'search.journal', plan, shared=True)
    dead.open()
    ticket, proposal = dead.claim(proposals)
    monkeypatch.setattr(dead._storage, 'set_trial_state_values', killed)
    with pytest.raises(Killed):
        dead.finish(ticket, proposal.evaluated({'top1': 5.0}))
    dead.close()
    scores = Smooth(AUTOVIT)
    result = search(tmp_path, plan, scores, shared=True)
    assert result.best == proposal.evaluated({'top1': 5.0})
    assert len(scores.calls) == 5
    assert search(tmp_path, plan, killed, resume=True).history == result.history


class Messages:
    def __init__(self):
        self.texts = []

    def on_candidate(self, candidate, progress):
        pass

    def on_message(self, text):
        self.texts.append(text)


def test_waiting_for_others_is_said_once(tmp_path):
    plan = settings(AUTOVIT, [Stage(budget=6, population=6)])
    proposals, _ = propose(plan, plan.stages[0], 0, 6, [], estimate)
    other = StudyStorage(tmp_path / 'j', plan, shared=True)
    other.open()
    claims = [other.claim(proposals) for _ in range(2)]

    watcher, storage = Messages(), StudyStorage(tmp_path / 'j', plan, shared=True, claim_hours=0.5)

    def finish():
        while not watcher.texts:
            time.sleep(0.01)
        time.sleep(0.1)  # some polls more
        for ticket, proposal in claims:
            other.finish(ticket, proposal.evaluated(Smooth(AUTOVIT)(proposal.arch)))

    thread = threading.Thread(target=finish, daemon=True)
    thread.start()
    Searcher(plan, estimate, Smooth(AUTOVIT), storage, watcher=watcher, poll_seconds=0.01).run()
    thread.join()
    other.close()
    [text] = watcher.texts
    assert text.startswith('waiting for 2 candidates')
    assert '30 min' in text


def test_claims_hold_across_time_zones(tmp_path, monkeypatch):
    plan = settings(AUTOVIT, [Stage(budget=2, population=2)])
    proposals, _ = propose(plan, plan.stages[0], 0, 2, [], estimate)
    storages = [StudyStorage(tmp_path / 'j', plan, shared=True) for _ in range(2)]
    hours = []
    try:
        for zone, storage, proposal in zip(('UTC+11', 'UTC-11'), storages, proposals, strict=True):
            monkeypatch.setenv('TZ', zone)
            time.tzset()
            hours.append(datetime.now().hour)
            storage.open()
            assert storage.claim(proposals)[1] == proposal
        assert storages[0].claim(proposals) is None
    finally:
        monkeypatch.undo()
        time.tzset()
        for storage in storages:
            storage.close()
    assert hours[0] != hours[1]


def test_shared_storage_and_ranks_exclude_each_other(tmp_path):
    plan = settings(AUTOVIT)
    with pytest.raises(ValueError, match='shared'):
        Searcher(plan, estimate, Smooth(AUTOVIT), StudyStorage(tmp_path / 'j', plan, shared=True), Team(0, 2))


# Evaluations without the objective


def without_top1_at(*places):
    """Scores that lack the objective for the networks of the first generation evaluated at these places."""
    plan = settings(AUTOVIT, [Stage(budget=12, population=6)])
    proposals, _ = propose(plan, plan.stages[0], 0, 6, [], estimate)
    lacking = [as_evaluated(proposals)[place].arch for place in places]

    def evaluate(arch, rank=0):
        return {'loss': 1.0} | ({} if arch in lacking else Smooth(AUTOVIT)(arch))

    return plan, evaluate


def test_a_candidate_without_the_objective_fails_alone(tmp_path):
    plan, evaluate = without_top1_at(1, 4)
    watcher = Messages()
    result = search(tmp_path / 'one', plan, evaluate, watcher=watcher)
    evaluated = as_evaluated(result.history)
    assert [place for place, c in enumerate(evaluated) if math.isnan(c.metrics['top1'])] == [1, 4]
    assert len(result.top()) == 10
    assert [text.split(' failed')[0] for text in watcher.texts] == [f'candidate {evaluated[i].key}' for i in (1, 4)]
    assert 'top1' in watcher.texts[0]
    both = in_ranks(plan, tmp_path / 'two', evaluate)
    assert repr(both[0]) == repr(both[1]) == repr(result.history)
    resumed = search(tmp_path / 'two', plan, killed, resume=True)
    assert repr(resumed.history) == repr(result.history)


def test_the_objective_of_stored_candidates_is_known_on_resuming(tmp_path):
    plan, evaluate = without_top1_at(1, 4)

    def stop(arch):
        found = evaluate(arch)
        return found if 'top1' in found else killed()

    with pytest.raises(Killed):
        search(tmp_path / 'part', plan, stop)
    resumed = search(tmp_path / 'part', plan, evaluate, resume=True)
    assert repr(resumed.history) == repr(search(tmp_path / 'whole', plan, evaluate).history)


def test_the_first_evaluation_must_have_the_objective(tmp_path):
    plan, evaluate = without_top1_at(0)
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"'top1'.*loss.*macs_m"):
            search(tmp_path, plan, evaluate, resume=resume)


@pytest.mark.parametrize('lacking', [0, 1])
def test_in_the_first_turn_of_two_ranks_one_with_the_objective_is_enough(tmp_path, lacking):
    plan, evaluate = without_top1_at(lacking)
    both = in_ranks(plan, tmp_path, evaluate)
    assert repr(both[0]) == repr(both[1])
    evaluated = as_evaluated(both[0])
    assert [place for place, c in enumerate(evaluated) if math.isnan(c.metrics['top1'])] == [lacking]


def test_a_first_turn_of_two_ranks_without_the_objective_is_an_error_on_both(tmp_path):
    plan, evaluate = without_top1_at(0, 1)
    first, second = in_ranks(plan, tmp_path, evaluate)
    assert first == second
    assert first.startswith("ValueError: objective: got 'top1'")


# Around it


def test_proposing_and_storing_a_candidate_takes_some_lines_a_gene(tmp_path):
    """The whole loop but for the evaluation, on the largest space: twice the genes are twice the work."""

    def lines_of(space):
        plan = settings(space, [Stage(budget=60, population=20)])
        folder = tmp_path / str(len(space.choices))
        return lines_run(lambda: search(folder, plan, lambda arch: {'top1': float(len(arch))}), mmhybrid, optuna)

    half, whole = GLiTSpace(num_blocks=6), GLiTSpace()
    assert len(whole.choices) == 2 * len(half.choices)
    lines = lines_of(whole)
    assert lines < 2.2 * lines_of(half)
    assert lines / 60 / len(whole.choices) < 250
