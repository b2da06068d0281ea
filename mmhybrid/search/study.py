"""An open study: its finished candidates, of which only new ones are read, and its trials in work."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial, TrialState

from mmhybrid.search.candidate import Candidate, Key
from mmhybrid.search.optuna_tools import distributions
from mmhybrid.search.reconnecting import Reconnecting
from mmhybrid.search.records import CANDIDATE, outcome, read_trial, record_of
from mmhybrid.search.settings import SearchSettings

T = TypeVar('T')


class Study:
    """The trials of one study, for one process.

    Args:
        storage: Optuna's.
        study_id: Of the study in it.
        location: Of the storage, for messages.
        settings: Of the search.
        call: What calls the storage.
        patience: For how many seconds to wait for a server that does not answer.
        leave: What a thread that has used the storage calls at its end.

    Attributes:
        finished: All candidates with a record that were read so far; of several for the same place the first counts.
        unfinished: The trials that had not ended at the last look.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study_id: int,
        location: str,
        settings: SearchSettings,
        call: Reconnecting,
        patience: float,
        leave: Callable[[], None],
    ) -> None:
        self.storage = storage
        self.leave = leave
        self.finished: dict[Key, Candidate] = {}
        self.unfinished: list[FrozenTrial] = []
        self._study_id = study_id
        self._location = location
        self._settings = settings
        self._call = call
        self._patience = patience
        self._distributions = distributions(settings.space)
        self._read: set[int] = set()
        # the number of the first trial that had not ended, and the id of the last one that had
        self._num_ended = 0
        self._last_ended = -1

    def call(self, action: Callable[..., T], *args: Any, seconds: float | None = None) -> T:
        """A call of the storage, again while its server does not answer; raises as :class:`Reconnecting` does."""
        return self._call(action, *args, seconds=self._patience if seconds is None else seconds)

    def look(self) -> None:
        """Read what is new.

        Raises:
            StorageError: If a candidate is not as it was written, or the server does not answer.
        """
        trials = self.call(self._latest)
        for trial in trials:
            if CANDIDATE in trial.user_attrs and trial.number not in self._read:
                candidate = read_trial(trial, self._location, self._settings)
                self._read.add(trial.number)
                self.finished.setdefault(candidate.key, candidate)
        self.unfinished = [trial for trial in trials if not trial.state.is_finished()]
        ended = [trial._trial_id for trial in trials if trial.state.is_finished()]
        self._last_ended = max(ended, default=self._last_ended)
        if trials:
            self._num_ended = self.unfinished[0].number if self.unfinished else trials[-1].number + 1

    def _latest(self) -> list[FrozenTrial]:
        """The trials that had not ended at the last look, and those that came since; some that had ended may be there.

        A list of all of them, which may be many, is made once.
        """
        if self._last_ended < 0:
            return self.storage.get_all_trials(self._study_id, deepcopy=False)
        if isinstance(self.storage, JournalStorage):
            return self._latest_of_journal()
        assert isinstance(self.storage, _CachedStorage)
        return self.storage._backend._get_trials(
            self._study_id,
            states=None,
            included_trial_ids={trial._trial_id for trial in self.unfinished},
            trial_id_greater_than=self._last_ended,
        )

    def _latest_of_journal(self) -> list[FrozenTrial]:
        found: list[FrozenTrial] = []
        number = self._num_ended
        while True:
            try:
                trial_id = self.storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
            except KeyError:
                return found
            found.append(self.storage.get_trial(trial_id))
            number += 1

    def add(self, candidate: Candidate) -> None:
        """Write a finished candidate as a trial."""
        state, values = outcome(candidate, self._settings)
        attributes = {CANDIDATE: record_of(candidate)}
        self.create(candidate, attributes, lambda: candidate.key in self.finished, state, values)

    def create(
        self,
        candidate: Candidate,
        user_attrs: Mapping[str, Any],
        is_there: Callable[[], bool],
        state: TrialState,
        values: list[float] | None = None,
    ) -> None:
        """Write a new trial.

        Args:
            candidate: Whose genes it has.
            user_attrs: Of the trial.
            is_there: Whether the last look saw it; a connection that was lost while it was written does not say.
            state: Of the trial.
            values: Of the objectives.
        """
        template = optuna.create_trial(
            state=state,
            values=values,
            params=dict(candidate.arch),
            distributions={name: self._distributions[name] for name in candidate.arch},
            user_attrs=dict(user_attrs),
        )
        has_failed = False

        def write() -> None:
            nonlocal has_failed
            if has_failed:
                self.look()
            if not (has_failed and is_there()):
                has_failed = True
                self.storage.create_new_trial(self._study_id, template_trial=template)

        self.call(write)

    def record(self, ticket: int, candidate: Candidate) -> None:
        """Write the outcome of a trial in work; one that has ended meanwhile stays as it is."""
        try:
            # the record alone counts as finished: this process may be killed between the two
            self.call(self.storage.set_trial_user_attr, ticket, CANDIDATE, record_of(candidate))
        except UpdateFinishedTrialError:
            return
        self.end(ticket, *outcome(candidate, self._settings))

    def end(
        self, ticket: int, state: TrialState, values: list[float] | None = None, seconds: float | None = None
    ) -> None:
        """Set the last state of a trial; one that has ended meanwhile stays as it is."""
        with suppress(UpdateFinishedTrialError):
            self.call(self.storage.set_trial_state_values, ticket, state, values, seconds=seconds)

    def give_up(self, trial: FrozenTrial) -> None:
        """End a trial whose process is gone, with its record if it got that far."""
        if CANDIDATE in trial.user_attrs:
            self.end(trial._trial_id, *outcome(read_trial(trial, self._location, self._settings), self._settings))
        else:
            self.end(trial._trial_id, TrialState.FAIL)
