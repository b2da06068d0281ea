"""SQLite files of others: what a definition makes SQLite do, however it is written."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from search_toys import AUTOVIT, estimate, random_stage, settings

from mmhybrid.search import Searcher, StorageError, StudyStorage, plain_tables, read_study
from mmhybrid.search.connecting import connect
from mmhybrid.search.reconnecting import Reconnecting

PLAN = settings(AUTOVIT, [random_stage(budget=3, population=3)])
NO_TEXT = b"'x' <> '\xff'"
ENDLESS = b'(with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n) > 0'


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A finished search."""
    url = f'sqlite:///{tmp_path}/search.db'
    Searcher(PLAN, estimate, lambda arch: {'top1': 1.0}, StudyStorage(url, PLAN)).run()
    return url


def write(url: str, *statements: str, parameters: tuple[object, ...] = ()) -> None:
    """Change the file, its definitions too."""
    with closing(sqlite3.connect(url.removeprefix('sqlite:///'))) as database:
        database.execute('pragma writable_schema = on')
        database.execute('pragma legacy_alter_table = on')
        for statement in statements:
            database.execute(statement, parameters)
        database.commit()


def refused(url: str, match: str) -> None:
    """Neither a report nor a search takes it."""
    for use in (lambda: read_study(url, lambda config: PLAN), StudyStorage(url, PLAN, resume=True).open):
        with pytest.raises(StorageError, match=match):
            use()


@pytest.mark.parametrize('condition', [NO_TEXT, NO_TEXT + b' and ' + ENDLESS])
@pytest.mark.parametrize('place', [0, 1000])
def test_a_definition_that_is_no_text(url: str, condition: bytes, place: int) -> None:
    """Python does not read it, and SQLite does: the check was skipped, and a report waited without end."""
    write(url, 'alter table studies rename to kept')
    view = b'create view studies as select study_id, study_name from kept where ' + condition
    row = f"({place}, 'view', 'studies', 'studies', 0, cast(? as text))"
    write(
        url, f'insert into sqlite_master(rowid, type, name, tbl_name, rootpage, sql) values {row}', parameters=(view,)
    )
    refused(url, "holds the (view 'studies'|table 'kept'), which no search has made")


STRANGE: dict[str, tuple[str, ...]] = {
    "table 'things'": ('create table things (name text)',),
    "table 'search'": ('create virtual table search using fts5(name)',),
    "table 'trial_values'": ('drop table trial_values', 'create table trial_values (a integer, b integer as (1))'),
    "trigger 't'": ('create trigger t after insert on trials begin delete from studies; end',),
    "index 'i'": ('create index i on trials (number) where number > 3',),
    "table 'trials'": (
        "update sqlite_master set sql = replace(sql, 'number INTEGER', 'number INTEGER default (abs(1))')",
    ),
    "view 'none'": ('create view none as select 1',),
}


@pytest.mark.parametrize('told', STRANGE)
def test_what_no_search_has_made(url: str, told: str) -> None:
    write(url, *STRANGE[told])
    refused(url, f'holds the {told}, which no search has made')


def test_another_writing_of_the_address(url: str, tmp_path: Path) -> None:
    """An address may name a file by escaped letters, which the check took for no file."""
    write(url, 'create view none as select 1')
    escaped = f'sqlite:///file:{tmp_path}/se%61rch.db?uri=true'
    with pytest.raises(StorageError, match="holds the view 'none', which no search has made"):
        StudyStorage(escaped, PLAN, resume=True).open()


def test_tables_that_share_their_pages(url: str) -> None:
    roots = "(select rootpage from sqlite_master where name = 'trials')"
    write(url, f"update sqlite_master set rootpage = {roots} where name = 'trial_heartbeats'")
    refused(url, 'is damaged: 2nd reference to page')


def test_a_check_ends(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        url,
        'with recursive n(x) as (select 100 union all select x + 1 from n where x < 5000) '
        "insert into trial_user_attributes select x, 1, 'key' || x, '1' from n",
    )
    monkeypatch.setattr(plain_tables, 'SQLITE_SECONDS', -1.0)
    refused(url, 'is damaged: SQLite reads it for over')


def test_a_locked_file_is_checked_later(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not skipped."""
    monkeypatch.setattr('mmhybrid.search.connecting.FIRST_SECONDS', 0.1)
    write(url, 'create view none as select 1')
    with closing(sqlite3.connect(url.removeprefix('sqlite:///'), isolation_level=None)) as database:
        database.execute('begin exclusive')
        with pytest.raises(StorageError, match='has not answered'):
            read_study(f'{url}?timeout=0.1', lambda config: PLAN)
        database.execute('rollback')
    refused(url, "holds the view 'none'")


def test_each_connection_is_checked(url: str) -> None:
    storage = connect(url, Reconnecting(url))
    query: Callable[[str], object] = lambda name: storage.engine.raw_connection().execute(name).fetchone()  # noqa: E731
    assert query('pragma trusted_schema') == (0,)
    storage.engine.dispose()
    write(url, 'create view none as select 1')
    with pytest.raises(StorageError, match="holds the view 'none'"):
        storage.engine.connect()
