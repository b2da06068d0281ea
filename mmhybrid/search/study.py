"""An open study: its finished candidates, of which only new ones are read, and its running trials."""

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
    """The trials of one study, as one process sees them.

    Args:
        storage: Optuna's storage.
        study_id: Id of the study in it.
        location: Location of the storage, for messages.
        settings: Settings of the search.
        call: Caller of the storage, which waits for its server.
        patience: Seconds to wait for a server that does not answer.
        leave: Function that a thread calls at its end if it has used the storage.

    Attributes:
        finished: All candidates with a record that were read so far. If several trials have the same place, the first
            counts.
        unfinished: Trials that had not ended at the last look.
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
        # These are the number of the first trial that had not ended, and the id of the last trial that had.
        self._num_ended = 0
        self._last_ended = -1

    def call(self, action: Callable[..., T], *args: Any, seconds: float | None = None) -> T:
        """Call the storage, again while its server does not answer; raises the errors of :class:`Reconnecting`."""
        return self._call(action, *args, seconds=self._patience if seconds is None else seconds)

    def look(self) -> None:
        """Read the new trials.

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
        """Return the trials that had not ended at the last look and the newer ones, perhaps with some that had ended.

        The list of all trials, which may be many, is made only once.
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
            candidate: Candidate whose genes the trial has.
            user_attrs: User attributes of the trial.
            is_there: Function that returns whether the last look saw the trial. It is needed because a connection may
                be lost while the trial is written, which does not tell whether the trial arrived.
            state: State of the trial.
            values: Values of the objectives.
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
        """Write the outcome of a running trial; a trial that has ended in the meantime stays as it is."""
        try:
            # A trial with a record counts as finished, because this process may be killed between the two writes.
            self.call(self.storage.set_trial_user_attr, ticket, CANDIDATE, record_of(candidate))
        except UpdateFinishedTrialError:
            return
        self.end(ticket, *outcome(candidate, self._settings))

    def end(
        self, ticket: int, state: TrialState, values: list[float] | None = None, seconds: float | None = None
    ) -> None:
        """Set the final state of a trial; a trial that has ended in the meantime stays as it is."""
        with suppress(UpdateFinishedTrialError):
            self.call(self.storage.set_trial_state_values, ticket, state, values, seconds=seconds)

    def give_up(self, trial: FrozenTrial) -> None:
        """End a trial whose process is gone; its record, if there is one, decides the final state."""
        if CANDIDATE in trial.user_attrs:
            self.end(trial._trial_id, *outcome(read_trial(trial, self._location, self._settings), self._settings))
        else:
            self.end(trial._trial_id, TrialState.FAIL)
