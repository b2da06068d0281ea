"""Finished candidates on disk or in a database, in Optuna's format."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from mmhybrid.search.candidate import Candidate, Key
from mmhybrid.search.errors import StorageError
from mmhybrid.search.journal import JournalFile, check_lines
from mmhybrid.search.optuna_tools import distributions, quiet, understood
from mmhybrid.search.records import CANDIDATE, outcome, read_trial, record_of
from mmhybrid.search.stages import SearchSettings
from mmhybrid.utils.files import first_difference

FILE_NAME = 'search.journal'
SETTINGS = 'settings'
ORIGIN = 'origin'
CLAIM = 'claim'
CLAIMED_AT = 'claimed_at'
RETRIES = 3


class StudyStorage:
    """One search's study: its settings, and a trial for each finished candidate.

    The default is Optuna's journal, one appended line a candidate: a process killed while it writes leaves half a
    line at the end, which the next writer cuts off; anything else that is not as written is reported and left alone.
    Trials hold the genes as categorical parameters and the objectives as values; all else is in the user attribute
    ``candidate``.

    Args:
        location: A journal file, or an SQLAlchemy URL (``sqlite:///search.db``, ``postgresql://...``).
        settings: Of the search; a study with others is refused.
        resume: Go on with a study that exists. Without it, that is an error.
        shared: Whether other processes search in the same study at the same time; joining one needs no ``resume``.
        study_name: Which of the studies at ``location``.
        claim_hours: In a shared search, after how long an unfinished candidate may be taken over.
        origin: What scores depend on beside the settings, such as the weights and the data; a study with another is
            refused, unless one of the two has none.
    """

    def __init__(
        self,
        location: str | Path,
        settings: SearchSettings,
        resume: bool = False,
        shared: bool = False,
        study_name: str = 'search',
        claim_hours: float = 1.0,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        self.location = str(location)
        self.shared = shared
        self.claim_hours = claim_hours
        self._settings = settings
        self._resume = resume
        self._study_name = study_name
        self._origin = None if origin is None else dict(origin)
        self._distributions = distributions(settings.space)
        self._journal: JournalFile | None = None
        self._storage: BaseStorage | None = None
        self._study: optuna.Study | None = None

    def open(self) -> None:
        """Open it, and write the settings of a new search.

        Raises:
            StorageError: If it is damaged, in use, holds other settings or scores of another origin, or exists and
                ``resume`` is not set. One without trials, of a search that ended before its first candidate, is
                replaced instead if nobody shares it.
        """
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others have it; it can be opened again."""
        if self._journal is not None:
            self._journal.close()
        if self._storage is not None:
            self._storage.remove_session()
        self._journal = self._storage = self._study = None

    def _open(self) -> None:
        if '://' in self.location:
            self._storage = self._connect()
        else:
            self._journal = JournalFile(Path(self.location), self.shared)
            self._storage = understood(self.location, self._journal.storage)
        config = self._settings.to_config()
        study_id, stored = _find_study(self._storage, self.location, self._study_name)
        if study_id is not None and SETTINGS in stored and not self._goes_on(study_id, stored, config):
            self._storage.delete_study(study_id)
            study_id, stored = None, {}
        with quiet():
            if study_id is None:
                directions = [objective.direction for objective in self._settings.objectives]
                # another process of a shared search may have been faster
                optuna.create_study(
                    storage=self._storage, study_name=self._study_name, directions=directions, load_if_exists=True
                )
            self._study = optuna.load_study(storage=self._storage, study_name=self._study_name)
        if SETTINGS not in stored:
            if self._origin is not None:
                self._study.set_user_attr(ORIGIN, self._origin)
            # last: a study with settings lacks nothing
            self._study.set_user_attr(SETTINGS, config)

    def _goes_on(self, study_id: int, stored: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
        """Whether the stored search is this one; False if it is another that has no trials yet."""
        assert self._storage is not None
        problem = ''
        if difference := first_difference(stored[SETTINGS], config):
            problem = f'a search with other settings: {difference}'
        elif self._origin is not None and ORIGIN in stored:
            difference = first_difference(stored[ORIGIN], self._origin)
            problem = f'scores of another origin: {difference}' if difference else ''
        if not self.shared and not understood(self.location, self._storage.get_n_trials, study_id):
            return not problem
        if not (self._resume or self.shared):
            problem = 'a search already: resume it, or choose another work directory or storage'
        if problem:
            raise StorageError(f'{self.location} holds {problem}')
        return True

    def _connect(self) -> BaseStorage:
        # Processes that begin together in an empty database trip over each other's new tables; later they are there.
        for _ in range(RETRIES if self.shared else 0):
            try:
                return understood(self.location, optuna.storages.get_storage, self.location)
            except StorageError:
                time.sleep(1)
        return understood(self.location, optuna.storages.get_storage, self.location)

    def load(self) -> dict[Key, Candidate]:
        """All finished candidates.

        Raises:
            StorageError: If one is not as it was written.
        """
        assert self._study is not None
        return _load(self._study, self.location, self._settings)

    def commit(self, candidate: Candidate) -> None:
        """Write a finished candidate at once; it survives the end of the process from here on."""
        assert self._study is not None
        state, values = outcome(candidate, self._settings)
        self._study.add_trial(
            optuna.create_trial(
                state=state,
                values=values,
                user_attrs={CANDIDATE: record_of(candidate)},
                **self._genes(candidate),
            )
        )

    # Searches that several processes share

    def claim(self, proposals: Sequence[Candidate]) -> tuple[int, Candidate] | None:
        """Reserve one of the candidates for this process; None if others work on all of them.

        Returns:
            A ticket for :meth:`finish`, and the candidate.
        """
        assert self._storage is not None
        taken = self._claims()
        for proposal in proposals:
            if proposal.key in taken:
                continue
            template = optuna.create_trial(
                state=TrialState.RUNNING,
                # Optuna's own time of a trial is local and does not say where
                user_attrs={CLAIM: list(proposal.key), CLAIMED_AT: time.time()},
                **self._genes(proposal),
            )
            ticket = self._storage.create_new_trial(self._study_id, template_trial=template)
            # Others may have claimed it since; the storage has put one of them first.
            number = self._storage.get_trial_number_from_id(ticket)
            taken = self._claims()
            if taken.get(proposal.key, number) == number:
                return ticket, proposal
            self._storage.set_trial_state_values(ticket, TrialState.FAIL)
        return None

    def finish(self, ticket: int, candidate: Candidate) -> None:
        """Write the candidate that was claimed."""
        assert self._storage is not None
        # the record alone counts as finished: this process may be killed between the two
        self._storage.set_trial_user_attr(ticket, CANDIDATE, record_of(candidate))
        self._storage.set_trial_state_values(ticket, *outcome(candidate, self._settings))

    def _claims(self) -> dict[Key, int]:
        """For each candidate that is finished or in work, the number of the first trial that claims it."""
        assert self._study is not None
        oldest = time.time() - 3600 * self.claim_hours
        claims: dict[Key, int] = {}
        for trial in self._study.get_trials(deepcopy=False):
            is_alive = trial.user_attrs.get(CLAIMED_AT, 0.0) > oldest
            if CLAIM in trial.user_attrs and (
                CANDIDATE in trial.user_attrs or (not trial.state.is_finished() and is_alive)
            ):
                stage, generation, index = trial.user_attrs[CLAIM]
                claims.setdefault((stage, generation, index), trial.number)
        return claims

    @property
    def _study_id(self) -> int:
        assert self._storage is not None
        return self._storage.get_study_id_from_name(self._study_name)

    # Between candidates and trials

    def _genes(self, candidate: Candidate) -> dict[str, Any]:
        return {
            'params': dict(candidate.arch),
            'distributions': {name: self._distributions[name] for name in candidate.arch},
        }


def read_study(
    location: str | Path, build: Callable[[dict[str, Any]], SearchSettings], study_name: str = 'search'
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
    location = str(location)
    if '://' in location:
        _check_database_file(location)
        storage: BaseStorage = understood(location, RDBStorage, location, skip_table_creation=True)
    else:
        if not Path(location).is_file():
            raise StorageError(f'{location}: no such file')
        check_lines(Path(location))
        storage = understood(location, JournalStorage, JournalFileBackend(location))
    _, stored = _find_study(storage, location, study_name)
    if SETTINGS not in stored:
        raise StorageError(f'{location} holds no search')
    settings = build(stored[SETTINGS])
    study = understood(location, optuna.load_study, storage=storage, study_name=study_name)
    places = {stage.name: place for place, stage in enumerate(settings.stages)}
    candidates = _load(study, location, settings).values()
    return settings, sorted(candidates, key=lambda c: (places[c.stage], c.generation, c.index))


def _check_database_file(url: str) -> None:
    """Raise StorageError for an SQLite file that reading would make."""
    path = url.partition(':///')[2].partition('?')[0]
    if url.startswith('sqlite') and not Path(path).is_file():
        raise StorageError(f'{url}: no such file')


def _find_study(storage: BaseStorage, location: str, study_name: str) -> tuple[int | None, dict[str, Any]]:
    """The study's id, None if there is none, and its attributes; no settings if its process ended before that."""
    for study in understood(location, storage.get_all_studies):
        if study.study_name == study_name:
            if SETTINGS not in study.user_attrs and storage.get_n_trials(study._study_id):
                raise StorageError(f'{location}: study {study_name!r} is not one of this program')
            return study._study_id, study.user_attrs
    return None, {}


def _load(study: optuna.Study, location: str, settings: SearchSettings) -> dict[Key, Candidate]:
    """What has a record; the state of its trial may never have followed."""
    candidates: dict[Key, Candidate] = {}
    for trial in understood(location, study.get_trials, deepcopy=False):
        if CANDIDATE in trial.user_attrs:
            candidate = read_trial(trial, location, settings)
            candidates.setdefault(candidate.key, candidate)
    return candidates
