"""Which candidates other processes work on, and whether they still do."""

import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from mmhybrid.search.candidate import Candidate, Key
from mmhybrid.search.errors import StorageError
from mmhybrid.search.records import CHECKSUM, record_of
from mmhybrid.search.study import Study

CLAIM = 'claim'
# A word of the claim's own, and how often its process has said since that it is alive.
BEAT = 'beat'
# Between two beats, of the silence after which a claim is taken over; in seconds at least.
INTERVAL_SHARE = 1 / 6
SHORTEST_INTERVAL = 0.05
# For what a process does that has to end.
LAST_SECONDS = 5.0


class Silence:
    """For how long the claims of others have not said that they are alive, by no clock but this process's own.

    Between two looks at most one interval of silence counts: who looked away, was stopped, or had lost the server does
    not know what others did meanwhile.

    Args:
        interval: Seconds between two beats of a claim.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last_look = time.monotonic()
        self._seconds: dict[int, float] = {}
        self._beats: dict[int, object] = {}

    def look(self, trials: list[FrozenTrial]) -> dict[int, float]:
        """Seconds of silence of each of the trials, by number.

        Args:
            trials: All that have not ended.
        """
        now = time.monotonic()
        passed, self._last_look = min(now - self._last_look, self._interval), now
        beats = {trial.number: trial.user_attrs.get(BEAT) for trial in trials}
        self._seconds = {
            number: self._seconds[number] + passed if number in self._beats and self._beats[number] == beat else 0.0
            for number, beat in beats.items()
        }
        self._beats = beats
        return self._seconds


class Heartbeat:
    """A thread that says at intervals that this process still works on a trial.

    Args:
        study: Where the trial is.
        ticket: Its id.
        word: Of the claim.
        interval: Seconds between two beats.
    """

    def __init__(self, study: Study, ticket: int, word: str, interval: float) -> None:
        self._study = study
        self._ticket = ticket
        self._word = word
        self._interval = interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f'heartbeat of trial {ticket}', daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        count = 0
        while not self._end.wait(self._interval):
            count += 1
            try:
                self._study.storage.set_trial_user_attr(self._ticket, BEAT, [self._word, count])
            except UpdateFinishedTrialError:
                break
            except Exception:
                # The server is away. Who finishes the trial waits for it, and says so.
                continue
        self._study.leave()

    def stop(self) -> None:
        """No more beats; one under way may still arrive."""
        self._end.set()
        self._thread.join(self._interval)


class Claims:
    """Candidates that this process and others reserve in a study that they share.

    A claim is a trial in work. Whoever waits for it sees whether it says that it is alive; one that is silent for too
    long is ended, and its candidate is free. No machine's clock is compared with another's.

    Args:
        study: The study.
        patience: After how many seconds of silence a claim is ended.
    """

    def __init__(self, study: Study, patience: float) -> None:
        self._study = study
        self._patience = patience
        self._interval = max(INTERVAL_SHARE * patience, SHORTEST_INTERVAL)
        self._silence = Silence(self._interval)
        self._hearts: dict[int, Heartbeat] = {}
        self._words: set[str] = set()

    def claim(self, proposals: Sequence[Candidate]) -> tuple[int, Candidate] | None:
        """Reserve one of the candidates; None if others work on all of them.

        Args:
            proposals: In the order of preference.

        Returns:
            A ticket for :meth:`finish` and :meth:`release`, and the candidate.
        """
        taken = self._taken()
        for proposal in proposals:
            if proposal.key in taken or proposal.key in self._study.finished:
                continue
            word = uuid.uuid4().hex
            self._words.add(word)
            attributes = {CLAIM: list(proposal.key), BEAT: [word, 0]}
            self._study.create(proposal, attributes, lambda: bool(self._saying(word)), TrialState.RUNNING)  # noqa: B023
            # Others may have claimed it since; the storage has put one of them first.
            taken = self._taken()
            mine = self._saying(word)
            is_first = proposal.key not in self._study.finished and taken.get(proposal.key) in mine
            # Optuna writes a trial again if the connection was lost, even one that has arrived
            for ticket in mine[is_first:]:
                self._study.end(ticket, TrialState.FAIL)
            if is_first:
                self._hearts[mine[0]] = Heartbeat(self._study, mine[0], word, self._interval)
                return mine[0], proposal
        return None

    def finish(self, ticket: int, candidate: Candidate) -> bool:
        """Write the candidate that was claimed; whether it counts, and not that of a process which took it over."""
        self._study.record(ticket, candidate)
        self._quieten(ticket)
        self._study.look()
        counted = self._study.finished.get(candidate.key)
        return counted is not None and record_of(counted)[CHECKSUM] == record_of(candidate)[CHECKSUM]

    def release(self, ticket: int) -> None:
        """Let others have the candidate; if the storage does not answer soon, they wait for the end of the claim."""
        self._quieten(ticket)
        with suppress(StorageError):
            self._study.end(ticket, TrialState.FAIL, seconds=LAST_SECONDS)

    def stop(self) -> None:
        """Say no more that this process is alive."""
        for ticket in list(self._hearts):
            self._quieten(ticket)

    def _quieten(self, ticket: int) -> None:
        self._hearts.pop(ticket).stop()

    def _saying(self, word: str) -> list[int]:
        """The ids of the trials that say the word, as of the last look."""
        return [trial._trial_id for trial in self._study.unfinished if _word(trial) == word]

    def _taken(self) -> dict[Key, int]:
        """For each candidate in work, the id of the first trial that claims it; ends the claims that are silent."""
        self._study.look()
        claims = [trial for trial in self._study.unfinished if CLAIM in trial.user_attrs]
        silence = self._silence.look(claims)
        taken: dict[Key, int] = {}
        has_ended = False
        for trial in claims:
            if silence[trial.number] >= self._patience and _word(trial) not in self._words:
                self._study.give_up(trial)
                has_ended = True
            else:
                stage, generation, index = trial.user_attrs[CLAIM]
                taken.setdefault((stage, generation, index), trial._trial_id)
        if has_ended:
            # one of them may have finished at the last moment
            self._study.look()
        return taken


def _word(trial: FrozenTrial) -> object:
    beat = trial.user_attrs.get(BEAT)
    return beat[0] if isinstance(beat, list) and beat else None
