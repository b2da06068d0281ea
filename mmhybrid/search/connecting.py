"""Optuna's storage at a location, a journal file or a database; what could harm its reader is refused before."""

import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages._rdb.models import BaseModel
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from mmhybrid.search.errors import StorageError
from mmhybrid.search.journal import check_lines
from mmhybrid.search.reconnecting import Reconnecting, is_passing
from mmhybrid.utils.addresses import masked, revealed
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.errors import first_line, shortened
from mmhybrid.utils.files import LONGEST

# For a server that does not answer at the start; a wrong address is not tried for long.
FIRST_SECONDS = 30.0
# What is no table of Optuna's own, and runs what its owner wants when it is read or written. Each function and operator
# is named with its schema here, since what a database has by the name of one of PostgreSQL's may be taken for it.
_PROGRAMS = """
with names (name) as (select pg_catalog.unnest(cast('{{{names}}}' as pg_catalog.text[]))),
    tables (oid) as (select cast(pg_catalog.to_regclass(name) as pg_catalog.oid) from names),
    path (oid) as (
        select oid from pg_catalog.pg_namespace
        where nspname operator(pg_catalog.=) any (pg_catalog.current_schemas(false))
        and nspname operator(pg_catalog.<>) 'pg_catalog'),
    installed (oid) as (select objid from pg_catalog.pg_depend where deptype operator(pg_catalog.=) 'e'),
    masters (oid) as (select oid from pg_catalog.pg_roles where rolsuper)
select 'table', cast(relname as pg_catalog.text) from pg_catalog.pg_class c
where c.oid operator(pg_catalog.=) any (select oid from tables) and (
    relkind operator(pg_catalog.<>) 'r' or relhasrules or relrowsecurity or exists (
        select from pg_catalog.pg_trigger where tgrelid operator(pg_catalog.=) c.oid and not tgisinternal))
union all select 'column', cast(attname as pg_catalog.text) from pg_catalog.pg_attribute
where attrelid operator(pg_catalog.=) any (select oid from tables) and atttypid operator(pg_catalog.=) any (
    select oid from pg_catalog.pg_type
    where typtype operator(pg_catalog.<>) 'b' and typtype operator(pg_catalog.<>) 'e')
union all select 'default', pg_catalog.pg_get_expr(adbin, adrelid) from pg_catalog.pg_attrdef
where adrelid operator(pg_catalog.=) any (select oid from tables) and pg_catalog.pg_get_expr(adbin, adrelid)
    operator(pg_catalog.!~) '^nextval[(]''[^()]*''::regclass[)]$'
union all select 'constraint', pg_catalog.pg_get_constraintdef(oid) from pg_catalog.pg_constraint
where conrelid operator(pg_catalog.=) any (select oid from tables) and contype operator(pg_catalog.=) 'c'
    and pg_catalog.pg_get_constraintdef(oid) operator(pg_catalog.!~) '^CHECK [(][(][a-z_]+ = [0-9]+[)][)]$'
union all select 'index', pg_catalog.pg_get_indexdef(indexrelid) from pg_catalog.pg_index
where indrelid operator(pg_catalog.=) any (select oid from tables) and (indexprs is not null or indpred is not null)
union all select 'function', cast(proname as pg_catalog.text) from pg_catalog.pg_proc
where pronamespace operator(pg_catalog.=) any (select oid from path) and not (
    oid operator(pg_catalog.=) any (select oid from installed)
    and proowner operator(pg_catalog.=) any (select oid from masters))
union all select 'operator', cast(oprname as pg_catalog.text) from pg_catalog.pg_operator
where oprnamespace operator(pg_catalog.=) any (select oid from path) and not (
    oid operator(pg_catalog.=) any (select oid from installed)
    and oprowner operator(pg_catalog.=) any (select oid from masters))
"""
# How Optuna and Alembic define tables and indices in SQLite: columns of plain types, keys, and checks of constants.
# What matched within the brackets stays so (a group that is looked ahead to): all readings of a text would be tried.
_DEFINITION = re.compile(
    r'create table "?\w+"? ?\((?:(?=('
    r'(?:primary key|unique|foreign key|references \w+) ?\([\w, "]+\)|'
    r"check \(\w+(?: ?= ?\d+| in \([\w, ']+\))\)|"
    r'\(\d+\)|\'\w*\'|[\w\s,"]))\1)+\)|create (?:unique )?index \w+ on "?\w+"? ?\([\w, "]+\)',
    re.IGNORECASE,
)
# What Optuna's tables are a version of, which it asks first.
ALEMBIC_TABLE = 'alembic_version'
# What a journal ends in that is one of several, and names the file that holds them together.
_JOURNAL_MAGIC = bytes.fromhex('d9d505f920a163d7')
# Processes that begin together in an empty database trip over each other's new tables; later they are there.
TRIES = 4
# A connection that the network has dropped without a word is noticed within a minute, by libpq.
LIVELINESS = {
    'connect_timeout': 10,
    'keepalives': 1,
    'keepalives_idle': 20,
    'keepalives_interval': 10,
    'keepalives_count': 3,
    'tcp_user_timeout': 60_000,
}


def open_to_read(location: str, call: Reconnecting) -> BaseStorage:
    """The storage at a location that must be there; a search may go on writing to it.

    Raises:
        StorageError: If it is not there, damaged, or holds what no search has made.
    """
    if '://' in location:
        _check_database_file(location)
        return get_storage(connect(location, call, skip_table_creation=True))
    if not Path(location).is_file():
        raise StorageError(f'{location}: no such file')
    check_lines(Path(location))
    return call(JournalStorage, JournalFileBackend(location), seconds=0)


def connect(location: str, call: Reconnecting, tries: int = 1, skip_table_creation: bool = False) -> RDBStorage:
    """The database at an address.

    Args:
        location: The address, as :func:`checked_location` shows it.
        call: What waits for its server.
        tries: How often to make Optuna's tables.
        skip_table_creation: Make none.

    Raises:
        StorageError: If its driver is missing, its server does not answer, or its tables are programs.
    """
    _check_schema(location)

    def connected() -> RDBStorage:
        url = make_url(revealed(location))
        engine: dict[str, Any] = {'pool_pre_ping': True}
        if url.get_backend_name() == 'postgresql':
            if url.drivername == 'postgresql':
                url = url.set(drivername='postgresql+psycopg')  # SQLAlchemy takes it by itself since 2.1
            engine['connect_args'] = {name: value for name, value in LIVELINESS.items() if name not in url.query}
        for left in reversed(range(tries)):
            try:
                _check_tables(location, url, engine)
                return RDBStorage(
                    url.render_as_string(hide_password=False), engine, skip_table_creation=skip_table_creation
                )
            except StorageError:
                raise  # another try finds the same tables
            except ImportError as error:
                detail = first_line(error.__cause__ or error)
                raise StorageError(
                    f'{location}: the driver of its database is not installed ({detail}); for PostgreSQL: '
                    'pip install "psycopg[binary]"'
                ) from error
            except Exception as error:
                if is_passing(error) or not left:
                    raise
                time.sleep(1)
        raise AssertionError

    return call(connected, seconds=FIRST_SECONDS)


def checked_location(location: str | Path) -> str:
    """A location as it may be shown; ValueError for a database in memory, of which nothing is left in the end."""
    if not isinstance(location, str | Path):
        raise bad_value('storage', location, 'a path or an address')
    shown = masked(str(location))
    if shown != str(location) and '://' not in shown:
        raise bad_value('storage', shown, 'a path, or an address such as postgresql://user@host/database')
    if shown.startswith('sqlite') and '://' in shown:
        path, _, options = shown.partition('://')[2].partition('?')
        if path in ('', '/') or ':memory:' in path or 'mode=memory' in options:
            raise bad_value('storage', shown, 'a file, such as sqlite:///search.db; memory ends with the process')
    return shown


def _check_database_file(url: str) -> None:
    """Raise StorageError for an SQLite file that reading would make."""
    path = url.partition(':///')[2].partition('?')[0].removeprefix('file:')
    if url.startswith('sqlite') and not Path(path).is_file():
        raise StorageError(f'{url}: no such file')


def _check_schema(url: str) -> None:
    """Raise StorageError for an SQLite file whose tables are programs: a view may never end, a trigger writes."""
    path = Path(url.partition(':///')[2].partition('?')[0].removeprefix('file:'))
    if not url.startswith('sqlite') or not path.is_file():
        return
    _check_files_beside(path)
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(path)) as database:  # Optuna tells of damage
        for kind, name, definition in database.execute('select type, name, sql from sqlite_master'):
            if definition is not None and not _DEFINITION.fullmatch(definition):
                raise StorageError(f'{url}: holds the {kind} {name!r}, which no search has made')
        # a column of which each value is computed when it is read, and may be of any size
        computed = database.execute(
            "select m.name, c.name from sqlite_master m, pragma_table_xinfo(m.name) c where m.type = 'table' "
            'and c.hidden in (2, 3)'
        ).fetchone()
        if computed is not None:
            raise StorageError(f'{url}: holds the computed column {computed!r}, which no search has made')


def _check_files_beside(path: Path) -> None:
    """Raise StorageError for files beside an SQLite file by which SQLite would remove or write others."""
    path = path.resolve()
    for ending in ('-journal', '-wal', '-shm'):
        beside = Path(f'{path}{ending}')
        if beside.is_symlink():
            raise StorageError(f'{beside}: a link, which SQLite would write through')
    journal = Path(f'{path}-journal')
    if journal.is_file():
        with journal.open('rb') as file:
            file.seek(max(0, journal.stat().st_size - len(_JOURNAL_MAGIC)))
            if file.read() == _JOURNAL_MAGIC:
                raise StorageError(f'{journal}: names another file, which SQLite would remove; no search writes that')


def _check_tables(location: str, url: URL, options: Mapping[str, Any]) -> None:
    """Raise StorageError for what PostgreSQL would run, as :func:`_check_schema` does for SQLite.

    SQLAlchemy's own connections call functions by their bare names, so it is asked for none.
    """
    if url.get_backend_name() != 'postgresql':
        return
    dialect = create_engine(url).dialect
    arguments, named = dialect.create_connect_args(url)
    assert dialect.loaded_dbapi is not None
    try:
        with closing(dialect.loaded_dbapi.connect(*arguments, **{**named, **options['connect_args']})) as connection:
            cursor = connection.cursor()
            cursor.execute(_PROGRAMS.format(names=','.join((*BaseModel.metadata.tables, ALEMBIC_TABLE))))
            programs = cursor.fetchall()
    except dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(None, None, error, dialect.loaded_dbapi.Error, dialect=dialect) from error
    if not programs:
        return
    kind, name = min(programs, key=lambda found: found[0] != 'table')
    if kind == 'table':
        raise StorageError(
            f'{location}: {name!r} is a view, or has a rule, a policy or a trigger, which no search has made'
        )
    where = ' in its search_path' if kind in ('function', 'operator') else ''
    raise StorageError(
        f'{location}: holds the {kind} {shortened(name, LONGEST)!r}{where}, which no search has made; keep searches in '
        'a database of their own'
    )


def studies_in(storage: BaseStorage, call: Reconnecting) -> dict[str, tuple[int, dict[str, Any]]]:
    """Of each study by name the id and the attributes; no settings if its process ended before that."""
    found = call(storage.get_all_studies, seconds=FIRST_SECONDS)
    return {study.study_name: (study._study_id, study.user_attrs) for study in found}
