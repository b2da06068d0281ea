"""The study of a search in a journal file or a database, which is created, continued, or refused if it does not fit."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection

from mmhybrid.search.candidate import Candidate, Key
from mmhybrid.search.claims import Claims
from mmhybrid.search.connecting import FIRST_SECONDS, TRIES, checked_location, connect, studies_in
from mmhybrid.search.errors import StorageError
from mmhybrid.search.journal import JournalFile
from mmhybrid.search.reconnecting import Reconnecting, to_nobody
from mmhybrid.search.records import CANDIDATE
from mmhybrid.search.settings import SearchSettings
from mmhybrid.search.study import Study
from mmhybrid.utils.checks import check_class, check_float
from mmhybrid.utils.files import first_difference

FILE_NAME = 'search.journal'
STUDY_NAME = 'search'
SETTINGS = 'settings'
ORIGIN = 'origin'


class StudyStorage:
    """The study of one search: its settings, and one trial for each finished candidate.

    The default is Optuna's journal, to which each candidate appends one line. A process that is killed while it writes
    leaves half a line at the end, which the next writer removes. Any other content that is not as it was written is
    reported and left as it is. Trials hold the genes as categorical parameters and the objectives as values; the user
    attribute ``candidate`` holds the rest.

    Args:
        location: Path of a journal file, or SQLAlchemy URL (``sqlite:///search.db``, ``postgresql://...``). The
            password of a URL is shown nowhere; it may also come from the environment variable
            ``MMHYBRID_STORAGE_PASSWORD``, or from ``~/.pgpass``.
        settings: Settings of the search; a study with other settings is refused.
        resume: Whether to continue an existing study, which is otherwise an error.
        shared: Whether other processes search in the same study at the same time; joining a study needs no ``resume``.
        study_name: Name of the study at ``location``.
        claim_hours: Hours without a heartbeat of its process after which a claimed candidate is taken over, in a shared
            search. A process sends six heartbeats in this time.
        origin: All that scores depend on besides the settings, such as the weights and the data. A study with another
            origin is refused, unless one of the two has none.
        retry_minutes: Minutes to wait for a server that does not answer.

    Attributes:
        tell: Function that receives a message when the server does not answer; it does nothing by default.

    Raises:
        ValueError: If ``claim_hours`` or ``retry_minutes`` is negative or no number, or ``location`` is a database in
            memory.
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
        self.location = checked_location(location)
        self.shared = shared
        self.claim_hours = check_float('claim_hours', claim_hours, 0)
        self.tell: Callable[[str], None] = to_nobody
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
        """Open the study, and write the settings of a new search.

        The settings of a new search that is not shared are written with its first candidate.

        Raises:
            StorageError: If the study is damaged, in use, holds other settings or scores of another origin, or exists
                and ``resume`` is not set.
        """
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the study, so that others can open it; it can be opened again."""
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
            self._database = connect(self.location, self._call, tries)
            self._storage = get_storage(self._database)
        else:
            self._journal = JournalFile(Path(self.location), self.shared)
            self._storage = self._call(self._journal.storage, seconds=0)
        found = studies_in(self._storage, self._call).get(self._study_name)
        if found is not None:
            self._check(*found)
            self._study_id = found[0]
        if found is not None and SETTINGS in found[1]:
            self._begin(found[0])
            if found[1][SETTINGS] != self._settings.to_config():  # the search may go on with a larger budget
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
        """Write a study with its settings and return its id.

        The study may already exist without settings, if the process that created it ended before it wrote them.
        """
        storage, call = self._storage, partial(self._call, seconds=self._patience)
        assert storage is not None
        directions = [StudyDirection[objective.direction.upper()] for objective in self._settings.objectives]

        def create() -> int:
            try:
                return storage.create_new_study(directions, self._study_name)
            except DuplicatedStudyError:  # another process created it, or this one before the connection was lost
                return storage.get_study_id_from_name(self._study_name)

        study_id = call(create) if self._study_id is None else self._study_id
        if self._origin is not None:
            call(storage.set_study_user_attr, study_id, ORIGIN, self._origin)
        self._write_settings(study_id)  # the settings come last, so that a study with settings is complete
        return study_id

    def _write_settings(self, study_id: int) -> None:
        assert self._storage is not None
        write = self._storage.set_study_user_attr
        self._call(write, study_id, SETTINGS, self._settings.to_config(), seconds=self._patience)

    def _check(self, study_id: int, stored: Mapping[str, Any]) -> None:
        """Raise StorageError unless the search may continue in the study."""
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
        """Return the number of candidates of each stage that have a record."""
        assert self._storage is not None
        trials = self._call(self._storage.get_all_trials, study_id, deepcopy=False, seconds=FIRST_SECONDS)
        records = [trial.user_attrs[CANDIDATE] for trial in trials if CANDIDATE in trial.user_attrs]
        return Counter(str(record.get('stage')) for record in records if isinstance(record, dict))

    def load(self) -> dict[Key, Candidate]:
        """Return all finished candidates; only new ones are read.

        Raises:
            StorageError: If a candidate is not as it was written.
        """
        if self._study is None:
            return {}
        self._study.look()
        return self._study.finished

    def commit(self, candidate: Candidate) -> None:
        """Write a finished candidate, which survives the end of the process from then on."""
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
