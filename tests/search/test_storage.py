"""Killed searches, damaged and foreign storages."""

import json
import os
import random
import signal
import sqlite3
import time
import zlib
from dataclasses import replace

import optuna
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from search_toys import (
    AUTOVIT,
    TOP1,
    Smooth,
    Toy,
    as_evaluated,
    build_toy,
    estimate,
    forked,
    random_stage,
    search,
    settings,
    stored_trials,
)

from mmhybrid.search import (
    Constraint,
    Evolution,
    Objective,
    OptunaSampler,
    RandomSampler,
    Searcher,
    SearchError,
    Skeletons,
    Stage,
    StorageError,
    StudyStorage,
    list_studies,
    read_study,
)
from mmhybrid.search.proposals import propose

PLAN = settings(
    AUTOVIT,
    [
        Stage('coarse', RandomSampler(), budget=60, population=60, rank_by=Objective('macs_m')),
        Stage('fine', Evolution(num_parents=4), budget=60, population=15, skeletons=Skeletons('coarse', 4)),
    ],
    constraints=[Constraint('params_m', max=620.0)],
)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """Scores, and kills its process at a given evaluation: before it, half-way through its line, or after it."""

    def __init__(self, space, survive, place):
        self.scores, self.left, self.place = Smooth(space), survive, place

    def __call__(self, arch):
        self.left -= 1
        if self.left == 0 and self.place == 'evaluating':
            die()
        if self.left == 0 and self.place == 'writing':
            os.fsync = self.tear
        return self.scores(arch)

    def tear(self, file):
        """In place of the fsync of an append: as if not all of the line had arrived."""
        os.ftruncate(file, os.fstat(file).st_size - random.Random(self.left).randrange(1, 1000))
        die()

    def on_candidate(self, candidate, progress):
        if self.left <= 0 and self.place == 'written':
            die()

    def on_message(self, text):
        pass


@pytest.mark.parametrize('sampler', [Evolution(num_parents=4), OptunaSampler()])
def test_killed_20_times_and_resumed_gives_the_same_history(tmp_path, sampler):
    plan = replace(PLAN, stages=[PLAN.stages[0], replace(PLAN.stages[1], sampler=sampler)])
    whole = search(tmp_path / 'whole', plan)
    rng = random.Random(0)
    for kill in range(20):
        mortal = Mortal(AUTOVIT, rng.randint(1, 4), ('evaluating', 'writing', 'written')[kill % 3])
        assert forked(lambda: search(tmp_path / 'killed', plan, mortal, resume=True, watcher=mortal))  # noqa: B023
    scores = Smooth(AUTOVIT)
    resumed = search(tmp_path / 'killed', plan, scores, resume=True)
    assert resumed.history == whole.history
    assert 0 < len(scores.calls) < 60
    assert stored_trials(tmp_path / 'killed') == stored_trials(tmp_path / 'whole')


def test_killed_at_any_moment_and_resumed_gives_the_same_history(tmp_path):
    """By the clock this time: also while it opens, proposes, and ends."""
    whole = search(tmp_path / 'whole', PLAN)
    rng = random.Random(1)
    for _ in range(20):
        child = os.fork()
        if child == 0:
            try:
                search(tmp_path / 'killed', PLAN, resume=True)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert search(tmp_path / 'killed', PLAN, resume=True).history == whole.history
    assert stored_trials(tmp_path / 'killed') == stored_trials(tmp_path / 'whole')


def test_sqlite_survives_kills_too(tmp_path):
    plan = settings(Toy(4, 4), [Stage(budget=12, population=6)])
    whole = search(tmp_path / 'whole', plan)

    def run(evaluate):
        storage = StudyStorage(f'sqlite:///{tmp_path}/search.db', plan, resume=True)
        return Searcher(plan, estimate, evaluate, storage).run()

    for survive in (1, 3, 5):
        mortal = Mortal(plan.space, survive, 'evaluating')
        assert forked(lambda: run(mortal))  # noqa: B023
    assert run(Smooth(plan.space)).history == whole.history


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A finished search and its journal."""
    folder = tmp_path_factory.mktemp('finished')
    plan = settings(Toy(4, 4), [Stage(budget=12, population=6)])
    return plan, search(folder, plan), (folder / 'search.journal').read_bytes()


def reopened(tmp_path, plan, journal, **options):
    (tmp_path / 'search.journal').write_bytes(journal)
    return search(tmp_path, plan, resume=True, **options)


some = hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@some
@given(data=st.data())
def test_a_torn_end_is_recovered_wherever_it_is(tmp_path, finished, data):
    plan, result, journal = finished
    cut = data.draw(st.integers(0, len(journal)))
    assert reopened(tmp_path, plan, journal[:cut]).history == result.history
    assert (tmp_path / 'search.journal').read_bytes().count(b'\n') == journal.count(b'\n')


def test_half_a_line_of_a_dead_process_is_cut_off_by_a_living_one(tmp_path):
    plan = settings(Toy(4, 4), [Stage(budget=6, population=6)])
    proposals, _ = propose(plan, plan.stages[0], 0, 6, [], estimate)
    path = tmp_path / 'search.journal'
    living = StudyStorage(path, plan, shared=True)
    living.open()
    with path.open('ab') as file:
        file.write(b'{"op_code":4,"study_i')
    scored = proposals[0].evaluated({'top1': 1.0})
    living.commit(scored)
    assert list(living.load().values()) == [scored]
    living.close()
    assert read_study(path, lambda config: plan)[1] == [scored]


@some
@given(data=st.data())
def test_damage_elsewhere_is_an_error_and_left_untouched(tmp_path, finished, data):
    """Some bytes of a complete line become others, and with them a number, a name or the syntax."""
    plan, _, journal = finished
    lines = journal.splitlines(keepends=True)
    line = data.draw(st.integers(2, len(lines) - 1))
    start = sum(map(len, lines[:line]))
    where = [journal.index(part, start) for part in (b'"params"', b'"candidate"', b'"checksum"')]
    at = data.draw(st.sampled_from(where)) + data.draw(st.integers(0, 20))
    damaged = journal[:at] + b'\0\0\0' + journal[at + 3 :]
    with pytest.raises(StorageError, match=r'search\.journal.* damaged.*untouched'):
        reopened(tmp_path, plan, damaged)
    assert (tmp_path / 'search.journal').read_bytes() == damaged


@pytest.mark.parametrize('field', [b'"value":', b'"top1":', b'"params_m":', b'"tries":', b'"genes.0.size":'])
def test_a_changed_number_is_noticed(tmp_path, finished, field):
    plan, _, journal = finished
    head, tail = journal.rsplit(field, 1)
    end = min(tail.index(mark) for mark in (b',', b'}') if mark in tail)
    other = str(float(tail[:end]) + 1).encode() if b'.' in tail[:end] else str((int(tail[:end]) + 1) % 3).encode()
    damaged = head + field + other + tail[end:]
    with pytest.raises(StorageError, match='not as it was written'):
        reopened(tmp_path, plan, damaged)
    assert (tmp_path / 'search.journal').read_bytes() == damaged


@pytest.mark.parametrize(
    'content', [b'not a journal', b'not a journal\n', b'{"a": 1}\n', b'\x89PNG\r\n\x1a\n', b'\0' * 50]
)
def test_files_of_others_are_left_alone(tmp_path, content):
    with pytest.raises(StorageError, match=r'line 1.*untouched'):
        reopened(tmp_path, settings(Toy()), content)
    assert (tmp_path / 'search.journal').read_bytes() == content


def test_a_damaged_database_is_an_error_and_left_untouched(tmp_path):
    plan = settings(Toy(), [Stage(budget=4, population=4)])
    path = tmp_path / 'search.db'

    def run():
        return Searcher(plan, estimate, Smooth(Toy()), StudyStorage(f'sqlite:///{path}', plan, resume=True)).run()

    run()
    damaged = b'garbage!' * 20 + path.read_bytes()[160:]
    path.write_bytes(damaged)
    with pytest.raises(StorageError, match=r'search\.db'):
        run()
    assert path.read_bytes() == damaged


def test_a_changed_row_of_a_database_is_noticed(tmp_path):
    plan = settings(Toy(), [Stage(budget=4, population=4)])
    path = tmp_path / 'search.db'

    def run():
        return Searcher(plan, estimate, Smooth(Toy()), StudyStorage(f'sqlite:///{path}', plan, resume=True)).run()

    run()
    with sqlite3.connect(path) as database:
        database.execute("update trial_user_attributes set value_json = replace(value_json, 'top1', 'top5')")
    with pytest.raises(StorageError, match='trial 0'):
        run()


def test_starting_again_without_resume_is_an_error(tmp_path, finished):
    plan, _, journal = finished
    (tmp_path / 'search.journal').write_bytes(journal)
    with pytest.raises(StorageError, match='resume'):
        search(tmp_path, plan)
    assert (tmp_path / 'search.journal').read_bytes() == journal


def test_resuming_nothing_starts(tmp_path, finished):
    plan, result, _ = finished
    assert search(tmp_path, plan, resume=True).history == result.history


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'seed': 1}, 'seed was 0, now 1'),
        ({'space': Toy(4, 3)}, 'space.values was 4, now 3'),
        ({'constraints': [Constraint('params_m', max=3.0)]}, r'constraints was \[\], now'),
        ({'objectives': [Objective('top1', 'minimize')]}, r'objectives\[0\].direction was "maximize"'),
        ({'stages': [Stage(budget=11, population=6)]}, r'stages\[0\].budget was 12, now 11'),
        ({'stages': [Stage(budget=12, population=4)]}, r'stages\[0\].population was 6, now 4'),
        ({'stages': [Stage(budget=12, population=6, sampler=RandomSampler())]}, r'stages\[0\].sampler.type'),
        ({'max_tries': 7}, 'max_tries was 1000, now 7'),
    ],
)
def test_other_settings_are_named(tmp_path, finished, change, named):
    plan, _, journal = finished
    with pytest.raises(StorageError, match=named):
        reopened(tmp_path, replace(plan, **change), journal)
    assert (tmp_path / 'search.journal').read_bytes() == journal


def test_a_finished_search_goes_on_with_a_larger_budget(tmp_path, finished):
    """As if it had had that budget from the start, a generation cut short by the first budget included."""
    plan = settings(Toy(4, 4), [Stage(budget=27, population=6)])
    begun = replace(plan, stages=[Stage(budget=14, population=6)], max_tries=900)
    search(tmp_path / 'two legs', begun)
    scores = Smooth(plan.space)
    resumed = search(tmp_path / 'two legs', plan, scores, resume=True)
    assert resumed.history == search(tmp_path / 'one leg', plan).history
    assert len(scores.calls) == 13
    assert search(tmp_path / 'two legs', plan, scores, resume=True).history == resumed.history
    assert len(scores.calls) == 13
    with pytest.raises(StorageError, match=r'stages\[0\].budget was 27, now 14: it may only grow'):
        search(tmp_path / 'two legs', begun, resume=True)


def test_a_stage_that_ended_early_goes_on_with_more_draws(tmp_path):
    plan = settings(
        AUTOVIT, [Stage(budget=20, population=10)], constraints=[Constraint('params_m', max=620.0)], max_tries=2
    )
    short = search(tmp_path / 'two legs', plan)
    assert 0 < len(short.history) < 20
    more = replace(plan, max_tries=1000)
    resumed = search(tmp_path / 'two legs', more, resume=True)
    assert len(resumed.history) == 20
    assert resumed.history == search(tmp_path / 'one leg', more).history


def test_stages_without_candidates_may_change(tmp_path):
    first = Stage('first', budget=8, population=4)
    plans = [
        settings(Toy(4, 4), [first, *later])
        for later in ([], [Stage('second', budget=4, population=4)], [Stage('third', RandomSampler(), 6, 3)])
    ]
    search(tmp_path / 'a', plans[0])
    search(tmp_path / 'b', plans[0])
    assert search(tmp_path / 'a', plans[1], resume=True).history == search(tmp_path / 'whole', plans[1]).history
    assert len(search(tmp_path / 'b', plans[2], resume=True).history) == 14
    with pytest.raises(StorageError, match=r'stages\[1\].name was "second", now "third"'):
        search(tmp_path / 'a', plans[2], resume=True)
    grown = replace(plans[1], stages=[replace(first, budget=12), plans[1].stages[1]])
    with pytest.raises(StorageError, match=r'stages\[0\].budget was 8, now 12'):
        search(tmp_path / 'a', grown, resume=True)


def test_other_costs_are_noticed(tmp_path, finished):
    plan, _, journal = finished
    (tmp_path / 'search.journal').write_bytes(journal)
    storage = StudyStorage(tmp_path / 'search.journal', plan, resume=True)

    def dearer(arch):
        return {name: value + 1 for name, value in estimate(arch).items()}

    with pytest.raises(StorageError, match='changed since'):
        Searcher(plan, dearer, Smooth(plan.space), storage).run()


ORIGIN = {'checkpoint': 'a1', 'data': 'val'}


@pytest.mark.parametrize('shared', [False, True])
def test_another_origin_of_scores_is_named(tmp_path, shared):
    plan = settings(Toy(4, 4), [Stage(budget=4, population=4)])

    def run(origin):
        storage = StudyStorage(tmp_path / 'search.journal', plan, resume=True, shared=shared, origin=origin)
        return Searcher(plan, estimate, Smooth(plan.space), storage).run().history

    found = run(ORIGIN)
    journal = (tmp_path / 'search.journal').read_bytes()
    with pytest.raises(StorageError, match='origin: checkpoint was "a1", now "b2"'):
        run({**ORIGIN, 'checkpoint': 'b2'})
    with pytest.raises(StorageError, match='origin: size was null, now "224"'):
        run({**ORIGIN, 'size': '224'})
    assert (tmp_path / 'search.journal').read_bytes() == journal
    assert run(dict(reversed(ORIGIN.items()))) == found


def test_a_study_without_origin_goes_with_any(tmp_path, finished):
    plan, result, journal = finished
    (tmp_path / 'search.journal').write_bytes(journal)
    storage = StudyStorage(tmp_path / 'search.journal', plan, resume=True, origin=ORIGIN)
    assert Searcher(plan, estimate, Smooth(plan.space), storage).run().history == result.history


@pytest.mark.parametrize('resume', [False, True])
def test_a_search_without_candidates_blocks_no_other(tmp_path, resume):
    impossible = settings(Toy(4, 4), constraints=[Constraint('params_m', max=-1)])
    corrected = settings(
        Toy(4, 4), constraints=[Constraint('params_m', max=9)], objectives=[TOP1, Objective('params_m', 'minimize')]
    )
    for _ in range(2):
        with pytest.raises(SearchError, match='params_m <= -1'):
            search(tmp_path, impossible, resume=resume)
    found = search(tmp_path, corrected, resume=resume).history
    assert len(found) == 40
    with pytest.raises(StorageError, match='other settings'):
        search(tmp_path, impossible, resume=True)
    assert search(tmp_path, corrected, resume=True).history == found


@pytest.mark.parametrize('place', ['sqlite:///{}/search.db', '{}/search.journal'])
def test_two_searches_in_one_storage(tmp_path, place):
    place = place.format(tmp_path)
    plans = {'a': settings(Toy(4, 4)), 'b': settings(Toy(5, 3), objectives=[TOP1, Objective('params_m', 'minimize')])}
    found = {}
    for name, plan in plans.items():
        storage = StudyStorage(place, plan, study_name=name)
        found[name] = Searcher(plan, estimate, Smooth(plan.space), storage).run().history
    assert list_studies(place) == {'a': 40, 'b': 40}
    for name, plan in plans.items():
        assert tuple(read_study(place, lambda _, plan=plan: plan, name)[1]) == found[name]
        with pytest.raises(StorageError, match=f"study '{name}', holds a search already"):
            StudyStorage(place, plan, study_name=name).open()


@pytest.mark.parametrize('place', ['sqlite:///{}/search.db', '{}/search.journal'])
@pytest.mark.parametrize('resume', [False, True])
def test_a_search_that_others_began_is_never_deleted(tmp_path, place, resume):
    place = place.format(tmp_path)
    first = StudyStorage(place, settings(Toy()), shared=True)
    first.open()
    first.close()
    other = StudyStorage(place, settings(Toy(), seed=1), resume=resume)
    with pytest.raises(StorageError, match=r'seed was 0, now 1; it has no candidate yet: choose another study name'):
        other.open()
    assert list_studies(place) == {'search': 0}
    again = StudyStorage(place, settings(Toy()))
    again.open()
    again.close()


def test_others_do_not_replace_the_settings_of_a_shared_search(tmp_path):
    first = StudyStorage(tmp_path / 'search.journal', settings(Toy()), shared=True)
    first.open()
    with pytest.raises(StorageError, match='seed was 0, now 1'):
        StudyStorage(tmp_path / 'search.journal', settings(Toy(), seed=1), shared=True).open()
    first.close()


def test_two_searches_do_not_share_a_file_by_accident(tmp_path):
    plan = settings(Toy())
    first = StudyStorage(tmp_path / 'search.journal', plan)
    first.open()
    with pytest.raises(StorageError, match='another process'):
        search(tmp_path, plan, resume=True)
    first.close()
    assert search(tmp_path, plan, resume=True).evaluated


def test_optuna_understands_the_study(tmp_path):
    objectives = [TOP1, Objective('params_m', 'minimize')]
    result = search(tmp_path, settings(AUTOVIT, objectives=objectives))
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / 'search.journal'))
    study = optuna.load_study(study_name='search', storage=optuna.storages.JournalStorage(backend))
    assert [trial.params for trial in study.trials] == [
        dict(candidate.arch) for candidate in as_evaluated(result.history)
    ]
    assert len(study.best_trials) == len(result.front())
    study.sampler = optuna.samplers.TPESampler(seed=0)
    study.ask(study.trials[0].distributions)


def test_a_study_reads_back_as_it_was_found(tmp_path, finished):
    plan, result, journal = finished
    path = tmp_path / 'search.journal'
    path.write_bytes(journal)

    def build(config):
        assert config == plan.to_config()
        return replace(plan, space=build_toy(config['space']))

    read, candidates = read_study(path, build)
    assert read.to_config() == plan.to_config()
    assert tuple(candidates) == result.history
    with pytest.raises(StorageError, match='no such file'):
        read_study(tmp_path / 'other.journal', build)


def test_an_interrupted_search_can_be_read_while_it_runs(tmp_path):
    plan = settings(Toy(4, 4), [random_stage()])
    found = []

    class Reader:
        def on_candidate(self, candidate, progress):
            found.append(len(read_study(tmp_path / 'search.journal', lambda config: plan)[1]))

        def on_message(self, text):
            raise AssertionError(text)

    search(tmp_path, plan, watcher=Reader())
    assert found == list(range(1, 41))


def test_all_failed_is_said(tmp_path):
    result = search(tmp_path, settings(Toy(4, 4)), lambda arch: {'top1': float('inf')})
    with pytest.raises(SearchError, match='40 evaluations'):
        _ = result.best
    assert (
        json.loads((tmp_path / 'search.journal').read_text().splitlines()[2])['state'] == optuna.trial.TrialState.FAIL
    )


def test_a_doubled_line_is_noticed(tmp_path, finished):
    plan, _, journal = finished
    lines = journal.splitlines(keepends=True)
    for place in (0, len(lines) // 2, len(lines) - 1):
        damaged = b''.join([*lines[: place + 1], *lines[place:]])
        with pytest.raises(StorageError, match=f'line {place + 2} is there a second time'):
            reopened(tmp_path, plan, damaged)
        assert (tmp_path / 'search.journal').read_bytes() == damaged


def test_a_doubled_key_is_noticed(tmp_path, finished):
    plan, _, journal = finished
    damaged = journal.replace(b'"tries":', b'"tries":1,"tries":', 1)
    with pytest.raises(StorageError, match='not as it was written'):
        reopened(tmp_path, plan, damaged)


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('generation', '0'),
        ('tries', '<b>1</b>'),
        ('metrics', {'top1': '<b>'}),
        ('rejected', {'a': 'b'}),
        ('stage', '\n'),
        ('stage', 'of another search'),
        ('seconds', '1'),
        ('seconds', -1.0),
        ('failure', ['a']),
        ('rejected', {'a' * 201: 1}),
        ('rejected', {f'bound {i}': 1 for i in range(1001)}),
    ],
)
def test_fields_of_a_record_have_their_types(tmp_path, finished, field, value):
    """Also where the checksum, which anybody can compute, is right."""
    plan, _, journal = finished
    lines = [json.loads(line) for line in journal.splitlines()]
    attributes = next(line['user_attrs'] for line in lines if 'candidate' in line.get('user_attrs', {}))
    record = {**attributes['candidate'], field: value}
    arch = next(line['params'] for line in lines if line.get('user_attrs') is attributes)
    text = json.dumps([{name: record[name] for name in record if name != 'checksum'}, arch], sort_keys=True)
    attributes['candidate'] = {**record, 'checksum': zlib.crc32(text.encode())}
    changed = ''.join(f'{json.dumps(line, separators=(",", ":"))}\n' for line in lines).encode()
    with pytest.raises(StorageError, match='not as it was written'):
        reopened(tmp_path, plan, changed)
