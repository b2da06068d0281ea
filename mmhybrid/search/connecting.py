"""Optuna's storage at a location, a journal file or a database; what could harm its reader is refused before."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL, create_engine
from sqlalchemy.engine import make_url

from mmhybrid.search.errors import StorageError
from mmhybrid.search.journal import check_lines
from mmhybrid.search.plain_tables import check_postgresql, check_sqlite
from mmhybrid.search.reconnecting import Reconnecting, is_passing
from mmhybrid.utils.addresses import masked, revealed
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.errors import first_line

# For a server that does not answer at the start; a wrong address is not tried for long.
FIRST_SECONDS = 30.0
# What a journal ends in that is one of several, and names the file that holds them together.
_JOURNAL_MAGIC = bytes.fromhex('d9d505f920a163d7')
# Processes that begin together in an empty database trip over each other's new tables; later they are there.
TRIES = 4
# After so long a connection is replaced by a new one, and what the database holds is checked again.
CHECKED_SECONDS = 300
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

    def connected() -> RDBStorage:
        url = make_url(revealed(location))
        engine: dict[str, Any] = {'pool_pre_ping': True}
        if url.drivername == 'postgresql':
            url = url.set(drivername='postgresql+psycopg')  # SQLAlchemy takes it by itself since 2.1
        for left in reversed(range(tries)):
            try:
                if url.get_backend_name() in ('postgresql', 'sqlite'):
                    engine.update(creator=_connections(location, url), pool_recycle=CHECKED_SECONDS)
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


def _connections(location: str, url: URL) -> Callable[[], Any]:
    """What makes connections to PostgreSQL or SQLite, each of which is checked before anything else is asked."""
    dialect = create_engine(url).dialect
    arguments, options = dialect.create_connect_args(url)
    driver = dialect.loaded_dbapi
    assert driver is not None
    is_file = url.get_backend_name() == 'sqlite'
    if not is_file:
        options.update({name: value for name, value in LIVELINESS.items() if name not in url.query})

    def connected() -> Any:
        connection = driver.connect(*arguments, **options)
        try:
            if is_file:
                _check_files_beside(Path(connection.execute('pragma database_list').fetchone()[2]))
                check_sqlite(location, connection)
            else:
                check_postgresql(location, connection)
        except BaseException:
            connection.close()
            raise
        return connection

    return connected


def studies_in(storage: BaseStorage, call: Reconnecting) -> dict[str, tuple[int, dict[str, Any]]]:
    """Of each study by name the id and the attributes; no settings if its process ended before that."""
    found = call(storage.get_all_studies, seconds=FIRST_SECONDS)
    return {study.study_name: (study._study_id, study.user_attrs) for study in found}
