"""Searches that share a real PostgreSQL server: killed, restarted, disconnected, with clocks that disagree."""

import json
import logging
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fresh_python import CONTEXT
from postgres_server import PostgresServer
from search_demo import make_search

from mmhybrid.search import (
    Evolution,
    Objective,
    Searcher,
    SearchSettings,
    Stage,
    StorageError,
    StudyStorage,
    connecting,
    read_study,
)
from mmhybrid.search.config import settings_from_data
from mmhybrid.search.reading import list_studies
from mmhybrid.space import Arch, Choice, SearchSpace


@pytest.fixture(scope='module')
def shared_server() -> Iterator[PostgresServer]:
    found = PostgresServer()
    yield found
    found.remove()


@pytest.fixture
def server(shared_server: PostgresServer) -> Iterator[PostgresServer]:
    """With databases as they are made, whatever a test before has left in them."""
    yield shared_server
    shared_server.forget()


def set_clock(hours: float) -> None:
    """Let this process read another time."""
    now = time.time
    time.time = lambda: now() + 3600 * hours


class Trouble:
    """Keeps some processes at a search, and does to them and to the server what is planned.

    Args:
        server: That they share.
        start: Starts the process of a place.
        places: How many.
        events: ``kill``, ``fast`` and ``immediate`` restarts, ``drop``; spread evenly over the budget.
        budget: Evaluations in all.
        patience: Seconds for all.
    """

    def __init__(
        self, server: PostgresServer, start: Any, places: int, events: list[str], budget: int, patience: float
    ) -> None:
        self.server, self.start, self.events, self.budget = server, start, events, budget
        self.rng = random.Random(0)
        self.processes: list[BaseProcess] = [start(place) for place in range(places)]
        self.ends = time.monotonic() + patience
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        for place, event in enumerate(self.events):
            while self.server.num_recorded() < place * (self.budget - 1) // len(self.events):
                self.check()
            getattr(self, event)()
            self.done[event] += 1
        while any(process.is_alive() for process in self.processes):
            self.check()
        assert [process.exitcode for process in self.processes] == [0] * len(self.processes)

    def check(self) -> None:
        assert time.monotonic() < self.ends, self.done
        assert all(process.exitcode in (None, 0) for process in self.processes)
        time.sleep(0.1)

    def kill(self) -> None:
        place = self.rng.randrange(len(self.processes))
        time.sleep(self.rng.uniform(0, 0.5))
        process = self.processes[place]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        self.processes[place] = self.start(place)

    def fast(self) -> None:
        self.restart('fast')

    def immediate(self) -> None:
        self.restart('immediate')

    def restart(self, mode: str) -> None:
        self.server.stop(mode)
        time.sleep(self.rng.uniform(0, 3))
        self.server.start()

    def drop(self) -> None:
        while not self.server.drop_a_connection():
            self.check()


# A search of numbers


class Small(SearchSpace):
    """Five genes of four values."""

    def __init__(self) -> None:
        super().__init__([Choice(f'genes.{i}', tuple(range(4))) for i in range(5)], {}, None)

    def _decode(self, genes: Arch) -> dict[str, Any]:
        return dict(genes)


def small_plan() -> SearchSettings:
    return SearchSettings(Small(), [Stage('search', Evolution(), 20, 10)], [Objective('top1')])


def estimate(arch: Arch) -> dict[str, float]:
    return {'macs_m': float(len(arch))}


def score(arch: Arch) -> dict[str, float]:
    return {'top1': random.Random(arch.to_json()).random()}


def search_numbers(url: str, hours: float) -> None:
    set_clock(hours)

    def slowly(arch: Arch) -> dict[str, float]:
        time.sleep(0.1)
        return score(arch)

    storage = StudyStorage(url, small_plan(), shared=True, claim_hours=2 / 3600)
    Searcher(small_plan(), estimate, slowly, storage, poll_seconds=0.1).run()


def recorded_once(server: PostgresServer) -> bool:
    """Whether no candidate has two records."""
    query = "select value_json::json ->> 'generation', value_json::json ->> 'index' from trial_user_attributes "
    rows = server.ask(query + "where key = 'candidate'").splitlines()
    return len(rows) == len(set(rows))


def test_a_small_search_survives(server: PostgresServer, tmp_path: Path) -> None:
    plan = small_plan()
    alone = Searcher(plan, estimate, score, StudyStorage(tmp_path / 'search.journal', plan)).run()

    def start(place: int) -> BaseProcess:
        process = get_context('fork').Process(target=search_numbers, args=(server.url, 2.0 * place), daemon=True)
        process.start()
        return process

    Trouble(server, start, 2, ['kill', 'fast', 'drop', 'immediate'], 20, 200).run()
    assert tuple(read_study(server.url, lambda config: plan)[1]) == alone.history
    assert recorded_once(server)


FOREVER = 'pg_sleep(1e9)'
PROGRAMS = {
    'a view': f'alter table trials rename to kept; create view trials as select kept.* from kept, {FOREVER}',
    'a policy': 'alter table studies enable row level security; '
    f'create policy p on studies using (({FOREVER}) is null); alter table studies force row level security',
    'a trigger': 'create function f() returns trigger language plpgsql as '
    f"'begin perform {FOREVER}; return new; end'; "
    'create trigger t before insert on trials for each row execute function f()',
}


def test_tables_that_are_programs_are_refused(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report waited for each of them without end, and so would a search. They are refused at once."""
    plan = small_plan()
    pauses: list[float] = []
    monkeypatch.setattr(connecting, 'time', SimpleNamespace(sleep=pauses.append))
    Searcher(plan, estimate, score, StudyStorage(server.url, plan, shared=True)).run()
    for kind, made in PROGRAMS.items():
        server.ask('create database other template postgres')
        url = server.url.replace('/postgres', '/other')
        server._run('psql', url, '-X', '-q', '-c', made)
        for read in (partial(read_study, url, lambda config: plan), partial(list_studies, url)):
            with pytest.raises(StorageError, match=f'holds the {kind[2:]} .*, which no search has made'):
                read()
        with pytest.raises(StorageError, match='which no search has made'):
            StudyStorage(url, plan, shared=True).open()
        server.ask('drop database other')
    assert not pauses
    assert len(read_study(server.url, lambda config: plan)[1]) == 20


RUN = "language plpgsql as 'begin copy (select 1) to program ''touch {trace}''; return null; end'"
# What a database may have beside its tables, and what queries, inserts or SQLAlchemy's first question run of it.
HIDDEN = {
    'operator': 'create schema s; create function s.f(a oid, b regclass) returns bool {run}; '
    'create operator = (leftarg = oid, rightarg = regclass, function = s.f)',
    'function': 'create function current_schema() returns name {run}; '
    'alter database other set search_path = public, pg_catalog',
    'default': 'create schema s; create function s.f() returns int {run}; '
    'alter table studies alter study_id set default s.f()',
    'constraint': 'create schema s; create function s.f(a int) returns bool {run}; '
    'alter table studies add constraint c check (s.f(study_id)) not valid',
    'index': 'create table studies_too as select from studies; create schema s; '
    "create function s.f(a int) returns int immutable language sql as 'select 1'; "
    'create index i on studies (s.f(study_id))',
    'column': 'create domain d as int check (value > 0); alter table studies alter study_id type d',
}


@pytest.mark.parametrize('kind', HIDDEN)
def test_nothing_in_a_database_is_run(kind: str, server: PostgresServer, tmp_path: Path) -> None:
    """Who may do anything on the server, as the user here, lets it run programs: each of the first four did."""
    plan = small_plan()
    Searcher(plan, estimate, score, StudyStorage(server.url, plan, shared=True)).run()
    trace = Path(tempfile.gettempdir(), f'{tmp_path.name}_{os.getpid()}')
    server.ask('create database other template postgres')
    url = server.url.replace('/postgres', '/other')
    made = HIDDEN[kind].format(run=RUN.format(trace=trace))
    server._run('psql', url, '-X', '-q', '-c', made)
    for read in (partial(read_study, url, lambda config: plan), StudyStorage(url, plan, study_name='new').open):
        with pytest.raises(StorageError, match=f'holds the {kind} .*, which no search has made'):
            read()
    assert not trace.exists()


def test_what_extensions_install_is_no_program(server: PostgresServer) -> None:
    installed = server.ask("select count(*) from pg_available_extensions where name = 'pg_trgm'")
    if installed == '0':
        pytest.skip('PostgreSQL is installed without its extensions')
    server.ask('create extension pg_trgm')
    plan = small_plan()
    Searcher(plan, estimate, score, StudyStorage(server.url, plan, shared=True)).run()
    assert len(read_study(server.url, lambda config: plan)[1]) == 20


def test_what_is_refused_would_not_end(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check the server itself ends the wait, after what it is given here.

    Policies hold for who is not a superuser, and triggers for who writes: a report ends, a search does not.
    """
    plan = small_plan()
    Searcher(plan, estimate, score, StudyStorage(server.url, plan, shared=True)).run()
    server.ask('create role plain login')
    monkeypatch.setattr(connecting, 'check_postgresql', lambda *_: None)
    monkeypatch.setattr(connecting, 'time', SimpleNamespace(sleep=lambda seconds: None))
    for module in ('connecting', 'reading', 'storage'):
        monkeypatch.setattr(f'mmhybrid.search.{module}.FIRST_SECONDS', 0.1)
    url = server.url.replace('search@', 'plain@').replace('/postgres', '/other')

    def report() -> None:
        read_study(url, lambda config: plan)

    def search() -> None:
        storage = StudyStorage(url, plan, shared=True, study_name='another', retry_minutes=0.001)
        Searcher(plan, estimate, score, storage).run()

    waits = {'a view': [report, search], 'a policy': [report, search], 'a trigger': [search]}
    limit = "alter database other set statement_timeout = '200ms'"
    for kind, made in PROGRAMS.items():
        server.ask('create database other template postgres')
        granted = (
            'grant all on all tables in schema public to plain; grant all on all sequences in schema public to plain'
        )
        for statement in (made, granted):
            server._run('psql', server.url.replace('/postgres', '/other'), '-X', '-q', '-c', statement)
        if report not in waits[kind]:
            report()
        server.ask(limit)
        for run in waits[kind]:
            with pytest.raises(StorageError, match='has not answered'):
                run()
        server.ask('drop database other with (force)')


# The tool


BUDGET = 96
OPTIONS = [
    f'search_cfg.stages.fine.budget={BUDGET}',
    'search_cfg.stages.fine.population=16',
    f'search_cfg.claim_hours={10 / 3600}',
]
KILLS, RESTARTS = 25, 5


def search_with_tool(arguments: list[str], hours: float) -> None:
    import torch

    set_clock(hours)
    torch.set_num_threads(1)
    import search as tool

    tool.main(arguments)


@pytest.mark.slow
def test_the_tool_survives(server: PostgresServer, tmp_path: Path) -> None:
    """Three processes, 25 kills, five restarts, a dropped connection, clocks two hours apart."""
    demo = make_search(tmp_path)

    def start(place: int, folder: str = 'worker', storage: str = server.url) -> BaseProcess:
        work_dir = tmp_path / f'{folder}_{place}'
        arguments = [demo['config'], '--checkpoint', demo['checkpoint'], '--work-dir', str(work_dir)]
        arguments += ['--storage', storage, '--cfg-options', f'search_cfg.shared={folder == "worker"}', *OPTIONS]
        process = CONTEXT.Process(target=search_with_tool, args=(arguments, 2.0 * place), daemon=True)
        process.start()
        return process

    alone = start(0, 'alone', str(tmp_path / 'alone.journal'))
    alone.join(600)
    assert alone.exitcode == 0
    events = ['kill'] * KILLS + ['fast', 'immediate'] * 2 + ['immediate', 'drop']
    random.Random(0).shuffle(events)
    began = time.monotonic()
    trouble = Trouble(server, start, 3, events, BUDGET, 2400)
    trouble.run()
    logging.getLogger(__name__).info('%s in %.0f s', dict(trouble.done), time.monotonic() - began)
    expected = read_study(tmp_path / 'alone.journal', settings_from_data)[1]
    found = read_study(server.url, settings_from_data)[1]
    assert found == expected
    assert len(found) == BUDGET
    assert recorded_once(server)
    evaluated = Counter(name for place in range(3) for name in evaluations(tmp_path / f'worker_{place}'))
    assert max(evaluated.values()) == 1
    assert best_of(tmp_path / 'worker_2') == best_of(tmp_path / 'alone_0')


def best_of(work_dir: Path) -> dict[str, Any]:
    """What a search has written of its best network, but for the time that it took."""
    best = json.loads((work_dir / 'best_arch.json').read_text())
    del best['search']['evaluation_hours'], best['search']['proposal_hours']
    return best


def evaluations(work_dir: Path) -> list[str]:
    """Generation and index of each candidate that the processes of a place have evaluated, from their logs."""
    lines = (line for log in work_dir.glob('*/*.log') for line in log.read_text().splitlines())
    return [line.split('fine')[1].split()[0] for line in lines if '  best ' in line]
