"""Claims of processes that raise, die, fall silent or lose the server, and locks of network file systems."""

import errno
import fcntl
import os
import re
import signal
import sqlite3
import threading
import time

import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from search_toys import AUTOVIT, Smooth, Toy, estimate, forked, search, settings
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, PendingRollbackError, ProgrammingError

from mmhybrid.search import Searcher, Stage, StorageError, StudyStorage, reconnecting
from mmhybrid.search.claims import Silence
from mmhybrid.search.proposals import propose
from mmhybrid.search.reconnecting import is_passing

PLAN = settings(AUTOVIT, [Stage(budget=6, population=6)])
PROPOSALS, _ = propose(PLAN, PLAN.stages[0], 0, 6, [], estimate)


@pytest.fixture
def opened(tmp_path):
    """Makes opened storages on the same file; a second of silence frees a claim."""
    storages = []

    def build(place=None, seconds=1.0, plan=PLAN, **options):
        options = {'shared': True, 'claim_hours': seconds / 3600, **options}
        storages.append(StudyStorage(place or tmp_path / 'search.journal', plan, **options))
        storages[-1].open()
        return storages[-1]

    yield build
    for storage in storages:
        storage.close()


def scored(proposal):
    return proposal.evaluated(Smooth(AUTOVIT)(proposal.arch))


# Claims


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit])
def test_what_ends_a_process_releases_its_claim(tmp_path, opened, error):
    def ends(arch):
        raise error

    with pytest.raises(error):
        search(tmp_path, PLAN, ends, shared=True)
    assert opened(seconds=3600).claim(PROPOSALS)[1] == PROPOSALS[0]


def test_a_claim_lasts_as_long_as_its_process_says_so(opened):
    """Here three times as long as the silence that ends one."""
    first, second = opened(), opened()
    ticket, proposal = first.claim(PROPOSALS[:1])
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert second.claim(PROPOSALS[:1]) is None
        time.sleep(0.05)
    assert first.finish(ticket, scored(proposal))
    assert second.claim(PROPOSALS[:1]) is None
    assert second.load() == {proposal.key: scored(proposal)}


def test_a_claim_of_a_killed_process_is_free_soon(tmp_path, opened):
    def work():
        storage = StudyStorage(tmp_path / 'search.journal', PLAN, shared=True, claim_hours=1 / 3600)
        storage.open()
        storage.claim(PROPOSALS)
        os.kill(os.getpid(), signal.SIGKILL)

    assert forked(work)
    other = opened()
    began = time.monotonic()
    assert other.claim(PROPOSALS[:1]) is None
    while (claim := other.claim(PROPOSALS[:1])) is None:
        time.sleep(0.05)
        assert time.monotonic() - began < 10
    assert time.monotonic() - began > 0.9
    assert claim[1] == PROPOSALS[0]


def test_who_was_taken_over_does_not_count(opened):
    first, second = opened(), opened(seconds=0)
    ticket, proposal = first.claim(PROPOSALS[:1])
    other, _ = second.claim(PROPOSALS[:1])
    assert not first.finish(ticket, proposal.evaluated({'top1': 5.0}))
    assert second.finish(other, proposal.evaluated({'top1': 6.0}))
    assert [storage.load()[proposal.key].metrics['top1'] for storage in (first, second)] == [6, 6]


def test_who_is_taken_over_at_the_last_moment_counts(opened):
    """The record is there before the other ends the claim, and after it has looked."""
    first, second = opened(), opened(seconds=0)
    ticket, proposal = first.claim(PROPOSALS[:1])
    look = second._study.give_up

    def late(trial):
        first._study.record(ticket, scored(proposal))
        look(trial)

    second._study.give_up = late
    assert second.claim(PROPOSALS[:1]) is None
    assert first.load() == second.load() == {proposal.key: scored(proposal)}


def test_clocks_do_not_matter(opened, monkeypatch):
    """Two hours apart, or one that jumps; only the steady clock of a process is read."""
    first, second = opened(), opened()
    now = time.time
    monkeypatch.setattr(time, 'time', lambda: now() + 7200)
    ticket, proposal = first.claim(PROPOSALS[:1])
    monkeypatch.setattr(time, 'time', lambda: now() - 7200)
    assert second.claim(PROPOSALS[:1]) is None
    assert first.finish(ticket, scored(proposal))


def test_who_looked_away_has_heard_no_silence(monkeypatch):
    """Stopped, or without the server: between two looks an interval counts at most."""
    clock = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: clock[0])

    class Trial:
        number = 3
        user_attrs = {'beat': ['word', 0]}

    silence = Silence(10.0)
    heard = []
    for second in (0, 5, 600, 601):
        clock[0] = second
        heard.append(silence.look([Trial])[3])
    assert heard == [0, 5, 15, 16]
    Trial.user_attrs = {'beat': ['word', 1]}
    assert silence.look([Trial]) == {3: 0}


# The server


class Away:
    """Lets calls of a method fail as if the server were away, before it does anything or after."""

    def __init__(self, monkeypatch, storage, name, times, after):
        self.call, self.left, self.after = getattr(storage, name), times, after
        monkeypatch.setattr(storage, name, self)

    def __call__(self, *args, **options):
        if not self.left:
            return self.call(*args, **options)
        self.left -= 1
        if self.after:
            self.call(*args, **options)
        cause = OperationalError('select', {}, Exception('server closed the connection unexpectedly'))
        raise StorageInternalError('An exception is raised during the commit.') from cause


@pytest.mark.parametrize('after', [False, True])
@pytest.mark.parametrize(
    'name', ['create_new_trial', 'set_trial_user_attr', 'set_trial_state_values', 'get_all_trials', '_get_trials']
)
def test_a_lost_connection_loses_nothing_and_writes_nothing_twice(tmp_path, opened, monkeypatch, name, after):
    monkeypatch.setattr(reconnecting, 'SHORTEST_PAUSE', 0.001)
    url = f'sqlite:///{tmp_path}/search.db'
    storage = opened(url, seconds=600)  # without a beat that would take a failure
    place = storage._database if name == '_get_trials' else storage._storage
    away = Away(monkeypatch, place, name, 3, after)
    ticket, proposal = storage.claim(PROPOSALS[:1])
    assert storage.finish(ticket, scored(proposal))
    storage.release(storage.claim(PROPOSALS)[0])
    storage._study.add(scored(PROPOSALS[2]))
    assert not away.left
    other = opened(url)
    assert other.load() == {p.key: scored(p) for p in (PROPOSALS[0], PROPOSALS[2])}
    trials = other._storage.get_all_trials(other._study_id)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


def caused(error):
    """As Optuna raises it."""
    outer = StorageInternalError('An exception is raised during the commit.')
    outer.__cause__ = error
    return outer


class ServerError(Exception):
    def __init__(self, sqlstate):
        super().__init__('FATAL')
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (PendingRollbackError("Can't reconnect until invalid transaction is rolled back."), True),
        (OperationalError('select', {}, ServerError('57P01')), True),  # admin_shutdown
        (OperationalError('select', {}, ServerError('57P03')), True),  # cannot_connect_now
        (OperationalError('select', {}, ServerError('53300')), True),  # too_many_connections
        (OperationalError('select', {}, ServerError('40P01')), True),  # deadlock_detected
        (OperationalError('select', {}, ServerError('28P01')), False),  # invalid_password
        (ProgrammingError('select', {}, ServerError('42P01')), False),  # undefined_table
        (KeyError('trial'), False),
    ],
)
def test_which_errors_pass(error, expected):
    assert is_passing(caused(error)) is is_passing(error) is expected


def test_a_locked_database_passes_and_a_missing_table_does_not(tmp_path):
    with sqlite3.connect(tmp_path / 'a.db', isolation_level=None) as holder:
        holder.execute('create table a (b)')
        holder.execute('begin exclusive')
        engine = create_engine(f'sqlite:///{tmp_path}/a.db', connect_args={'timeout': 0})
        with pytest.raises(OperationalError, match='locked') as locked, engine.connect() as connection:
            connection.execute(text('insert into a values (1)'))
        assert is_passing(locked.value)
        holder.execute('rollback')
        with pytest.raises(OperationalError, match='no such table') as missing, engine.connect() as connection:
            connection.execute(text('select * from c'))
        assert not is_passing(missing.value)
    holder.close()
    engine.dispose()


def test_a_server_that_stays_away_is_one_sentence(opened, monkeypatch):
    told = []
    storage = opened(retry_minutes=1 / 60)
    storage.tell = told.append
    Away(monkeypatch, storage._storage, 'get_all_trials', 1000, False)
    with pytest.raises(StorageError, match=r'has not answered for 1 s \(.*closed the connection.*--resume') as failed:
        storage.load()
    assert '\n' not in str(failed.value)
    [text] = told
    assert 'does not answer' in text


def test_a_server_that_comes_back_is_told(opened, monkeypatch):
    told = []
    storage = opened()
    storage.tell = told.append
    Away(monkeypatch, storage._storage, 'get_all_trials', 4, False)
    assert storage.load() == {}
    assert [re.sub('.*journal ', '', text).split(' (')[0] for text in told] == ['does not answer', 'answers again']


def test_no_server_and_no_driver_are_one_sentence(monkeypatch):
    monkeypatch.setattr('mmhybrid.search.connecting.FIRST_SECONDS', 0.2)
    with pytest.raises(StorageError, match=r'has not answered for 0\.2 s \(.*refused'):
        StudyStorage('postgresql://127.0.0.1:9/none', PLAN).open()
    with pytest.raises(StorageError, match=r'driver of its database is not installed \(.*pip install'):
        StudyStorage('postgresql+asyncpg://127.0.0.1:9/none', PLAN).open()


def test_only_new_trials_are_read(tmp_path, opened, monkeypatch):
    """Each record once by each process, whatever is polled."""
    plan = settings(Toy(4, 4), [Stage(budget=30, population=10)])
    read, reading = [], []

    def count(trial, location, of):
        read.append(trial.number)
        return parse(trial, location, of)

    from mmhybrid.search import study

    parse = study.read_trial
    monkeypatch.setattr(study, 'read_trial', count)
    url = f'sqlite:///{tmp_path}/search.db'
    watching = opened(url, plan=plan)
    run = Searcher(plan, estimate, Smooth(plan.space), StudyStorage(url, plan, shared=True), poll_seconds=0.01).run
    thread = threading.Thread(target=lambda: reading.append(run()))
    thread.start()
    while thread.is_alive():
        watching.load()
    thread.join()
    assert len(watching.load()) == 30
    assert len(read) == len(set(read)) * 2 == 60


# Network file systems


def test_locks_are_asked_for_as_nfs_gives_them(tmp_path, monkeypatch):
    """NFS makes locks of whole files locks of ranges, for which fcntl(2) wants a descriptor open for writing."""
    flock = fcntl.flock

    def nfs(file, kind):
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if (kind & fcntl.LOCK_EX and mode == os.O_RDONLY) or (kind & fcntl.LOCK_SH and mode == os.O_WRONLY):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, kind)

    monkeypatch.setattr(fcntl, 'flock', nfs)
    assert len(search(tmp_path, PLAN).history) == 6
    assert len(search(tmp_path / 'shared', PLAN, shared=True).history) == 6


@pytest.mark.parametrize('code', [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_without_locks_is_one_sentence(tmp_path, monkeypatch, code):
    def none(file, kind):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, 'flock', none)
    with pytest.raises(StorageError, match=r'its file system gives no locks \(.*in a database') as failed:
        search(tmp_path, PLAN)
    assert '\n' not in str(failed.value)


def test_a_process_that_was_forked_meanwhile_does_not_keep_the_lock(tmp_path, opened):
    """Data loaders are forked while the thread of a claim may write."""
    storage = opened()
    lock = storage._storage._backend._lock
    lock.acquire()
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    lock.release()
    done = threading.Event()
    threading.Thread(target=lambda: (storage.claim(PROPOSALS), done.set()), daemon=True).start()
    try:
        assert done.wait(10)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
