"""Finished candidates on disk or in a database, in Optuna's format."""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages._rdb.models import BaseModel
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from sqlalchemy import URL, create_engine, text
from sqlalchemy.engine import make_url

from mmhybrid.search.candidate import Candidate, Key
from mmhybrid.search.claims import Claims
from mmhybrid.search.errors import StorageError
from mmhybrid.search.journal import JournalFile, check_lines
from mmhybrid.search.reconnecting import Reconnecting, is_passing
from mmhybrid.search.records import CANDIDATE
from mmhybrid.search.stages import SearchSettings
from mmhybrid.search.study import Study
from mmhybrid.utils.addresses import masked, revealed
from mmhybrid.utils.checks import bad_value, check_class, check_float
from mmhybrid.utils.errors import first_line
from mmhybrid.utils.files import first_difference

FILE_NAME = 'search.journal'
STUDY_NAME = 'search'
SETTINGS = 'settings'
ORIGIN = 'origin'
# For a server that does not answer at the start; a wrong address is not tried for long.
FIRST_SECONDS = 30.0
# Tables of Optuna that are views or foreign, or that rules, policies or triggers belong to: each may never end.
_PROGRAMS = text(
    'select relname from pg_catalog.pg_class c where c.oid in '
    "(select pg_catalog.to_regclass(name) from unnest(cast(:names as text[])) name) and (relkind <> 'r' or relhasrules "
    'or relrowsecurity or exists (select from pg_catalog.pg_trigger where tgrelid = c.oid and not tgisinternal))'
)
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


class StudyStorage:
    """One search's study: its settings, and a trial for each finished candidate.

    The default is Optuna's journal, one appended line a candidate: a process killed while it writes leaves half a
    line at the end, which the next writer cuts off; anything else that is not as written is reported and left alone.
    Trials hold the genes as categorical parameters and the objectives as values; all else is in the user attribute
    ``candidate``.

    Args:
        location: A journal file, or an SQLAlchemy URL (``sqlite:///search.db``, ``postgresql://...``). Its password is
            shown nowhere; it may come from the variable ``MMHYBRID_STORAGE_PASSWORD``, or from ``~/.pgpass``.
        settings: Of the search; a study with others is refused.
        resume: Go on with a study that exists. Without it, that is an error.
        shared: Whether other processes search in the same study at the same time; joining one needs no ``resume``.
        study_name: Which of the studies at ``location``.
        claim_hours: In a shared search, after how long without a word of its process a candidate in work is taken
            over; a process says six times in that time that it is alive.
        origin: What scores depend on beside the settings, such as the weights and the data; a study with another is
            refused, unless one of the two has none.
        retry_minutes: For how long to wait for a server that does not answer.

    Attributes:
        tell: Who hears, in a sentence, that the server does not answer; nobody at first.

    Raises:
        ValueError: If ``claim_hours`` or ``retry_minutes`` is not a number of hours or minutes, or ``location`` is a
            database in memory.
    """

    def __init__(
        self,
        location: str | Path,
        settings: SearchSettings,
        resume: bool = False,
        shared: bool = False,
        study_name: str = STUDY_NAME,
        claim_hours: float = 1 / 60,
        origin: Mapping[str, str] | None = None,
        retry_minutes: float = 10.0,
    ) -> None:
        self.location = _checked(location)
        self.shared = shared
        self.claim_hours = check_float('claim_hours', claim_hours, 0)
        self.tell: Callable[[str], None] = _to_nobody
        self._settings = check_class('settings', settings, SearchSettings)
        self._resume = resume
        self._study_name = study_name
        self._origin = None if origin is None else dict(check_class('origin', origin, Mapping))
        self._patience = 60 * check_float('retry_minutes', retry_minutes, 0)
        self._call = Reconnecting(self.location, lambda text: self.tell(text))
        self._journal: JournalFile | None = None
        self._database: RDBStorage | None = None
        self._storage: BaseStorage | None = None
        self._study_id: int | None = None
        self._study: Study | None = None
        self._claims: Claims | None = None

    def open(self) -> None:
        """Open it, and write the settings of a new search; those of one that nobody shares with its first candidate.

        Raises:
            StorageError: If it is damaged, in use, holds other settings or scores of another origin, or exists and
                ``resume`` is not set.
        """
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others have it; it can be opened again."""
        if self._claims is not None:
            self._claims.stop()
        if self._journal is not None:
            self._journal.close()
        if self._database is not None:
            self._database.remove_session()
            self._database.engine.dispose()
        self._journal = self._database = self._storage = self._study_id = self._study = self._claims = None

    def _open(self) -> None:
        if '://' in self.location:
            tries = TRIES if self.shared else 1
            self._database = _connect(self.location, self._call, tries)
            self._storage = get_storage(self._database)
        else:
            self._journal = JournalFile(Path(self.location), self.shared)
            self._storage = self._call(self._journal.storage, seconds=0)
        found = _studies(self._storage, self._call).get(self._study_name)
        if found is not None:
            self._check(*found)
            self._study_id = found[0]
        if found is not None and SETTINGS in found[1]:
            self._begin(found[0])
            if found[1][SETTINGS] != self._settings.to_config():  # it goes on with a larger budget, say
                self._write_settings(found[0])
        elif self.shared:
            self._begin(self._create())

    def _begin(self, study_id: int) -> None:
        storage = self._storage
        assert storage is not None
        leave = storage.remove_session if self._database is None else self._database.remove_session
        self._study = Study(storage, study_id, self.location, self._settings, self._call, self._patience, leave)
        self._claims = Claims(self._study, 3600 * self.claim_hours)

    def _create(self) -> int:
        """Write a study with its settings, or those of one whose process ended before that; its id."""
        storage, call = self._storage, partial(self._call, seconds=self._patience)
        assert storage is not None
        directions = [StudyDirection[objective.direction.upper()] for objective in self._settings.objectives]

        def create() -> int:
            try:
                return storage.create_new_study(directions, self._study_name)
            except DuplicatedStudyError:  # by another process of a shared search, or before the connection was lost
                return storage.get_study_id_from_name(self._study_name)

        study_id = call(create) if self._study_id is None else self._study_id
        if self._origin is not None:
            call(storage.set_study_user_attr, study_id, ORIGIN, self._origin)
        self._write_settings(study_id)  # last: a study with settings lacks nothing
        return study_id

    def _write_settings(self, study_id: int) -> None:
        assert self._storage is not None
        write = self._storage.set_study_user_attr
        self._call(write, study_id, SETTINGS, self._settings.to_config(), seconds=self._patience)

    def _check(self, study_id: int, stored: Mapping[str, Any]) -> None:
        """Raise StorageError unless the search may go on in the study."""
        assert self._storage is not None
        is_empty = not self._call(self._storage.get_n_trials, study_id, seconds=FIRST_SECONDS)
        problem = ''
        if SETTINGS not in stored:
            problem = '' if is_empty else 'trials that are not of this program'
        elif difference := self._settings.why_not_continued(stored[SETTINGS], self._finished(study_id)):
            problem = f'a search with other settings: {difference}'
            if is_empty:
                problem += '; it has no candidate yet: choose another study name, or delete it (optuna delete-study)'
        elif self._origin is not None and ORIGIN in stored:
            difference = first_difference(stored[ORIGIN], self._origin)
            problem = f'scores of another origin: {difference}' if difference else ''
        if not (problem or self._resume or self.shared or is_empty):
            problem = 'a search already: resume it, or choose another work directory, storage or study name'
        if problem:
            name = '' if self._study_name == STUDY_NAME else f', study {self._study_name!r},'
            raise StorageError(f'{self.location}{name} holds {problem}')

    def _finished(self, study_id: int) -> Counter[str]:
        """How many candidates of each stage have a record."""
        assert self._storage is not None
        trials = self._call(self._storage.get_all_trials, study_id, deepcopy=False, seconds=FIRST_SECONDS)
        records = [trial.user_attrs[CANDIDATE] for trial in trials if CANDIDATE in trial.user_attrs]
        return Counter(str(record.get('stage')) for record in records if isinstance(record, dict))

    def load(self) -> dict[Key, Candidate]:
        """All finished candidates; only what is new is read.

        Raises:
            StorageError: If one is not as it was written.
        """
        if self._study is None:
            return {}
        self._study.look()
        return self._study.finished

    def commit(self, candidate: Candidate) -> None:
        """Write a finished candidate at once; it survives the end of the process from here on."""
        if self._study is None:
            self._begin(self._create())
        assert self._study is not None
        self._study.add(candidate)

    def claim(self, proposals: Sequence[Candidate]) -> tuple[int, Candidate] | None:
        """See :meth:`Claims.claim`."""
        assert self._claims is not None
        return self._claims.claim(proposals)

    def finish(self, ticket: int, candidate: Candidate) -> bool:
        """See :meth:`Claims.finish`."""
        assert self._claims is not None
        return self._claims.finish(ticket, candidate)

    def release(self, ticket: int) -> None:
        """See :meth:`Claims.release`."""
        assert self._claims is not None
        self._claims.release(ticket)


def read_study(
    location: str | Path, build: Callable[[dict[str, Any]], SearchSettings], study_name: str = STUDY_NAME
) -> tuple[SearchSettings, list[Candidate]]:
    """What a study holds, for reports; a search may go on writing to it meanwhile.

    Args:
        location: See :class:`StudyStorage`.
        build: Makes settings of what :meth:`SearchSettings.to_config` gave.
        study_name: See :class:`StudyStorage`.

    Returns:
        The settings, and the finished candidates in the order of the search.

    Raises:
        StorageError: If there is no such study, or it is damaged.
    """
    location = _checked(location)
    call = Reconnecting(location, _to_nobody)
    storage = _open_to_read(location, call)
    found = _studies(storage, call)
    searches = sorted(name for name, (_, attributes) in found.items() if SETTINGS in attributes)
    if study_name not in searches:
        others = f', but {", ".join(map(repr, searches))}' if searches else ''
        raise StorageError(f'{location} holds no search {study_name!r}{others}')
    study_id, stored = found[study_name]
    settings = build(stored[SETTINGS])
    study = Study(storage, study_id, location, settings, call, FIRST_SECONDS, storage.remove_session)
    study.look()
    places = {stage.name: place for place, stage in enumerate(settings.stages)}
    candidates = study.finished.values()
    return settings, sorted(candidates, key=lambda c: (places[c.stage], c.generation, c.index))


def list_studies(location: str | Path) -> dict[str, int]:
    """How many finished candidates each search at a location has, by the name of its study.

    Raises:
        StorageError: If there is no such storage, or it is damaged.
    """
    location = _checked(location)
    call = Reconnecting(location, _to_nobody)
    storage = _open_to_read(location, call)
    counts = {}
    for name, (study_id, attributes) in _studies(storage, call).items():
        if SETTINGS in attributes:
            trials = call(storage.get_all_trials, study_id, deepcopy=False, seconds=FIRST_SECONDS)
            counts[name] = sum(CANDIDATE in trial.user_attrs for trial in trials)
    return counts


def _open_to_read(location: str, call: Reconnecting) -> BaseStorage:
    if '://' in location:
        _check_database_file(location)
        return get_storage(_connect(location, call, skip_table_creation=True))
    if not Path(location).is_file():
        raise StorageError(f'{location}: no such file')
    check_lines(Path(location))
    return call(JournalStorage, JournalFileBackend(location), seconds=0)


def _connect(location: str, call: Reconnecting, tries: int = 1, skip_table_creation: bool = False) -> RDBStorage:
    _check_schema(location)

    def connect() -> RDBStorage:
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

    return call(connect, seconds=FIRST_SECONDS)


def _checked(location: str | Path) -> str:
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
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(path)) as database:  # Optuna tells of damage
        found = database.execute(
            "select type, name from sqlite_master where type in ('view', 'trigger') or sql like 'create virtual%'"
        ).fetchone()
        if found is not None:
            raise StorageError(f'{url}: holds the {found[0]} {found[1]!r}, which no search has made')
        # a column of which each value is computed when it is read, and may be of any size
        computed = database.execute(
            "select m.name, c.name from sqlite_master m, pragma_table_xinfo(m.name) c where m.type = 'table' "
            'and c.hidden in (2, 3)'
        ).fetchone()
        if computed is not None:
            raise StorageError(f'{url}: holds the computed column {computed!r}, which no search has made')


def _check_tables(location: str, url: URL, options: Mapping[str, Any]) -> None:
    """Raise StorageError for a table of PostgreSQL that is a program, as :func:`_check_schema` does for SQLite."""
    if url.get_backend_name() != 'postgresql':
        return
    engine = create_engine(url, **options)
    try:
        with engine.connect() as connection:
            found = connection.execute(_PROGRAMS, {'names': list(BaseModel.metadata.tables)}).first()
    finally:
        engine.dispose()
    if found is not None:
        raise StorageError(
            f'{location}: {found[0]!r} is a view, or has a rule, a policy or a trigger, which no search has made'
        )


def _studies(storage: BaseStorage, call: Reconnecting) -> dict[str, tuple[int, dict[str, Any]]]:
    """Of each study by name the id and the attributes; no settings if its process ended before that."""
    found = call(storage.get_all_studies, seconds=FIRST_SECONDS)
    return {study.study_name: (study._study_id, study.user_attrs) for study in found}


def _to_nobody(text: str) -> None:
    pass
