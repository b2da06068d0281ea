"""Connections to Optuna's storage, a journal file or a database, which refuse content that could harm its reader."""

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

# A server that does not answer at the start is tried for this many seconds only, because its address may be wrong.
FIRST_SECONDS = 30.0
# A rollback journal of SQLite ends with these bytes if it is one of several journals of a transaction; it then names
# the file that lists them.
_JOURNAL_MAGIC = bytes.fromhex('d9d505f920a163d7')
# Processes that start together in an empty database may fail because each creates the same tables; a later try finds
# them.
TRIES = 4
# A connection is replaced after this many seconds, and the content of the database is then checked again.
CHECKED_SECONDS = 300
# With these settings, libpq notices within a minute that the network has dropped a connection.
LIVELINESS = {
    'connect_timeout': 10,
    'keepalives': 1,
    'keepalives_idle': 20,
    'keepalives_interval': 10,
    'keepalives_count': 3,
    'tcp_user_timeout': 60_000,
}


def open_to_read(location: str, call: Reconnecting) -> BaseStorage:
    """Open an existing storage to read it, while a search may go on writing to it.

    Raises:
        StorageError: If the storage does not exist, is damaged, or holds content that no search has made.
    """
    if '://' in location:
        _check_database_file(location)
        return get_storage(connect(location, call, skip_table_creation=True))
    if not Path(location).is_file():
        raise StorageError(f'{location}: no such file')
    check_lines(Path(location))
    return call(JournalStorage, JournalFileBackend(location), seconds=0)


def connect(location: str, call: Reconnecting, tries: int = 1, skip_table_creation: bool = False) -> RDBStorage:
    """Connect to the database at an address.

    Args:
        location: Address with a masked password, from :func:`checked_location`.
        call: Caller that waits for the server.
        tries: Number of attempts to create Optuna's tables.
        skip_table_creation: Whether to create no tables.

    Raises:
        StorageError: If the database's driver is missing, its server does not answer, or its tables run programs.
    """

    def connected() -> RDBStorage:
        url = make_url(revealed(location))
        engine: dict[str, Any] = {'pool_pre_ping': True}
        if url.drivername == 'postgresql':
            url = url.set(drivername='postgresql+psycopg')  # SQLAlchemy chooses this driver by itself since 2.1
        for left in reversed(range(tries)):
            try:
                if url.get_backend_name() in ('postgresql', 'sqlite'):
                    engine.update(creator=_connections(location, url), pool_recycle=CHECKED_SECONDS)
                return RDBStorage(
                    url.render_as_string(hide_password=False), engine, skip_table_creation=skip_table_creation
                )
            except StorageError:
                raise  # another try would find the same tables
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
    """Return a location with a masked password, as it may be shown.

    Raises:
        ValueError: If it is neither a path nor an address, or is a database in memory, which would be lost when the
            process ends.
    """
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
    """Raise StorageError for an SQLite file that does not exist, because reading would create it."""
    path = url.partition(':///')[2].partition('?')[0].removeprefix('file:')
    if url.startswith('sqlite') and not Path(path).is_file():
        raise StorageError(f'{url}: no such file')


def _check_files_beside(path: Path) -> None:
    """Raise StorageError if SQLite would write to or remove other files because of files beside the database."""
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
    """Return a function that makes connections to PostgreSQL or SQLite and checks each before anything else uses it."""
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
    """Return the id and the attributes of each study by name.

    A study has no settings if the process that created it ended before it wrote them.
    """
    found = call(storage.get_all_studies, seconds=FIRST_SECONDS)
    return {study.study_name: (study._study_id, study.user_attrs) for study in found}
