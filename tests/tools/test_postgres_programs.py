"""What a database's owner makes of Optuna's tables so that PostgreSQL runs it with the rights of who uses them."""

from collections.abc import Iterator
from functools import partial

import pytest
from postgres_server import PostgresServer
from search_toys import AUTOVIT, estimate, random_stage, settings

from mmhybrid.search import Searcher, StorageError, StudyStorage, read_study
from mmhybrid.space import Arch

PLAN = settings(AUTOVIT, [random_stage(budget=3, population=3)])
# A function that the server believes to be constant, and that writes down who runs it.
SPY = """
create schema attic; grant usage on schema attic to public;
create table attic.log (who text); grant all on attic.log to public;
create function attic.note() returns boolean language plpgsql volatile as
    'begin insert into attic.log values (current_user); return true; end';
create function attic.spy(anyelement) returns boolean language plpgsql immutable as
    'begin return attic.note(); end';
create function attic.watch() returns trigger language plpgsql as
    'begin perform attic.note(); return new; end';
grant all on all tables in schema public to public; grant all on all sequences in schema public to public;
"""


def score(arch: Arch) -> dict[str, float]:
    return {'top1': 1.0}


@pytest.fixture(scope='module')
def server() -> Iterator[PostgresServer]:
    """With a database of mallory's, who has searched in it; reader may use it."""
    found = PostgresServer()
    try:
        found.ask('create role mallory login')
        found.ask('create role reader login')
        found.ask('create database base owner mallory')
        url = address(found, 'mallory', 'base')
        Searcher(PLAN, estimate, score, StudyStorage(url, PLAN)).run()
        found._run('psql', url, '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-c', SPY)
        yield found
    finally:
        found.remove()


@pytest.fixture
def other(server: PostgresServer) -> Iterator[PostgresServer]:
    """The server, with a copy of that database by the name of other."""
    server.ask('create database other owner mallory template base')
    yield server
    server.ask('drop database other with (force)')


def address(server: PostgresServer, role: str, database: str) -> str:
    return server.url.replace('search@', f'{role}@').replace('/postgres', f'/{database}')


def as_mallory(server: PostgresServer, statement: str) -> str:
    url = address(server, 'mallory', 'other')
    return server._run('psql', url, '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-c', statement)


def uses(url: str) -> list[partial]:
    """A report, and a search that goes on."""
    return [
        partial(read_study, url, lambda config: PLAN),
        partial(Searcher(PLAN, estimate, score, StudyStorage(url, PLAN, shared=True, study_name='new')).run),
    ]


MADE = {
    "inheriting table 'attic.t'": 'create table attic.t (check (attic.spy(1))) inherits (public.studies)',
    "inheriting table 'public.trials'": 'create table attic.t (trial_id int); alter table trials inherit attic.t',
    "statistics 's'": 'create statistics attic.s on (number + attic.spy(1)::int), state from public.trials',
    "trigger 't'": 'create trigger t before insert on studies for each row execute function attic.watch()',
    "rule 'r'": 'create rule r as on insert to studies do also select attic.note()',
    "policy 'p'": 'create policy p on studies using (attic.note())',
    "row security 'studies'": 'alter table studies enable row level security',
    "column 'g'": 'alter table studies add g bool generated always as (attic.spy(1)) stored',
    "column 'value_json'": 'create domain attic.d as text check (attic.spy(value)); '
    'alter table study_user_attributes alter value_json type attic.d[] using array[value_json]',
    "type 'trialstate'": 'alter table trials alter state type text; drop type trialstate cascade; '
    'create domain trialstate as text check (attic.spy(value))',
    r"default '\(attic.spy": 'alter table studies alter study_id set default attic.spy(1)::int',
    "constraint 'CHECK": 'alter table studies add constraint c check (attic.spy(study_id))',
    "constraint 'FOREIGN KEY": 'create table attic.t (id int references public.studies)',
    "constraint 'EXCLUDE": 'alter table studies add constraint c exclude (study_id with =)',
    "index 'CREATE INDEX i .*attic.spy": 'create index i on studies (attic.spy(study_id))',
    "index 'CREATE INDEX i .*WHERE": 'create index i on studies (study_id) where attic.spy(study_id)',
    "index 'CREATE INDEX i .*hash": 'create index i on studies using hash (study_id)',
    "cast 'public.trialstate as boolean'": 'create cast (trialstate as bool) with function attic.of_state as implicit',
    "operator '='": 'create operator public.= (leftarg = varchar, rightarg = varchar, function = attic.same)',
    "function 'count'": "create function count(trialstate) returns bool language sql as 'select true'",
    "view 'studies'": 'alter table studies rename to kept; create view studies as select * from kept',
    "partitioned table 'alembic_version'": 'drop table alembic_version; '
    'create table alembic_version (version_num varchar) partition by list (version_num)',
    "table of another kind 'alembic_version'": 'alter table alembic_version set unlogged',
}
FUNCTIONS = """
create function attic.of_state(trialstate) returns boolean language sql as 'select attic.note()';
create function attic.same(varchar, varchar) returns boolean language sql as 'select attic.note()';
"""


@pytest.mark.parametrize('told', MADE)
def test_what_the_server_would_run_is_refused(told: str, other: PostgresServer) -> None:
    as_mallory(other, FUNCTIONS)
    as_mallory(other, MADE[told])
    as_mallory(other, 'delete from attic.log')
    for use in uses(address(other, 'reader', 'other')):
        with pytest.raises(StorageError, match=rf'holds the {told}.*, which no search has made'):
            use()
    assert as_mallory(other, 'select who from attic.log') == ''


def test_tables_of_another_are_used(other: PostgresServer) -> None:
    for use in uses(address(other, 'reader', 'other')):
        use()
    assert as_mallory(other, "select count(*) from trial_user_attributes where key = 'candidate'").strip() == '6'


def test_a_superuser_keeps_to_databases_of_superusers(other: PostgresServer) -> None:
    """What an owner adds after a connection was checked would run programs on the server."""
    url = address(other, 'search', 'other')
    server_wide = address(other, 'keeper', 'other')
    other.ask('create role keeper login in role pg_execute_server_program')
    told = "'mallory' could have them through functions added to the "
    owned: dict[str, str] = {
        'database': 'reassign owned by mallory to search; alter database other owner to mallory',
        'table': 'alter database other owner to search; alter table trials owner to mallory',
        'type': 'alter table trials owner to search; alter type trialstate owner to mallory',
        'schema': 'alter type trialstate owner to search; grant create on schema public to mallory',
    }
    for kind, statements in owned.items():
        for statement in statements.split(';'):
            other._run('psql', url, '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-c', statement)
        for address_of_user in (url, server_wide):
            for use in uses(address_of_user):
                with pytest.raises(StorageError, match=told + kind):
                    use()
    other._run('psql', url, '-X', '-q', '-c', 'revoke create on schema public from mallory')
    for use in (*uses(url), *uses(server_wide)):
        use()
