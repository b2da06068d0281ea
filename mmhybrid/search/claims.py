"""Claims: the record of which process evaluates which candidate, and whether that process is still alive."""

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
# A trial's attribute of this name holds a random word that identifies its claim and the number of heartbeats so far.
BEAT = 'beat'
# This is the ratio of the interval between two heartbeats to the silence after which a claim is taken over. The
# interval is at least SHORTEST_INTERVAL seconds.
INTERVAL_SHARE = 1 / 6
SHORTEST_INTERVAL = 0.05
# A process that is about to end waits at most this many seconds for the storage.
LAST_SECONDS = 5.0


class Silence:
    """A measure of how long each claim of another process has sent no heartbeat, by this process's clock alone.

    Each look adds at most one interval to a silence. A process that did not look for longer, because it was stopped or
    had lost the server, does not know what the others did in that time.

    Args:
        interval: Seconds between two heartbeats of a claim.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last_look = time.monotonic()
        self._seconds: dict[int, float] = {}
        self._beats: dict[int, object] = {}

    def look(self, trials: list[FrozenTrial]) -> dict[int, float]:
        """Return the silence of each trial in seconds, by trial number.

        Args:
            trials: All trials that have not ended.
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
    """A thread that reports at intervals that this process still works on a trial.

    Args:
        study: Study of the trial.
        ticket: Id of the trial.
        word: Random word that identifies the claim.
        interval: Seconds between two heartbeats.
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
                # The server is away. The process that finishes the trial waits for the server and reports it.
                continue
        self._study.leave()

    def stop(self) -> None:
        """Stop the heartbeats; one that is already on its way may still arrive."""
        self._end.set()
        self._thread.join(self._interval)


class Claims:
    """The claims of candidates in a study that several processes share.

    A claim is a running trial. Other processes see whether it sends heartbeats; one of them ends a claim that has been
    silent for too long, and its candidate is then free. The clocks of two machines are never compared.

    Args:
        study: The shared study.
        patience: Seconds of silence after which a claim is ended.
    """

    def __init__(self, study: Study, patience: float) -> None:
        self._study = study
        self._patience = patience
        self._interval = max(INTERVAL_SHARE * patience, SHORTEST_INTERVAL)
        self._silence = Silence(self._interval)
        self._hearts: dict[int, Heartbeat] = {}
        self._words: set[str] = set()

    def claim(self, proposals: Sequence[Candidate]) -> tuple[int, Candidate] | None:
        """Claim one of the candidates; return None if other processes work on all of them.

        Args:
            proposals: Candidates in order of preference.

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
            # Others may have claimed it in the meantime; the order of the trials in the storage decides which claim is
            # first.
            taken = self._taken()
            mine = self._saying(word)
            is_first = proposal.key not in self._study.finished and taken.get(proposal.key) in mine
            # Optuna writes a trial again if the connection was lost, even if the first one has arrived.
            for ticket in mine[is_first:]:
                self._study.end(ticket, TrialState.FAIL)
            if is_first:
                self._hearts[mine[0]] = Heartbeat(self._study, mine[0], word, self._interval)
                return mine[0], proposal
        return None

    def finish(self, ticket: int, candidate: Candidate) -> bool:
        """Record a claimed candidate and return whether it counts.

        It does not count if another process took the candidate over and recorded it first.
        """
        self._study.record(ticket, candidate)
        self._quieten(ticket)
        self._study.look()
        counted = self._study.finished.get(candidate.key)
        return counted is not None and record_of(counted)[CHECKSUM] == record_of(candidate)[CHECKSUM]

    def release(self, ticket: int) -> None:
        """Give up a claim, so that other processes can evaluate the candidate.

        If the storage does not answer within a few seconds, the others wait until the claim has been silent for too
        long.
        """
        self._quieten(ticket)
        with suppress(StorageError):
            self._study.end(ticket, TrialState.FAIL, seconds=LAST_SECONDS)

    def stop(self) -> None:
        """Stop all heartbeats of this process."""
        for ticket in list(self._hearts):
            self._quieten(ticket)

    def _quieten(self, ticket: int) -> None:
        self._hearts.pop(ticket).stop()

    def _saying(self, word: str) -> list[int]:
        """Return the ids of the trials that hold the word, as of the last look."""
        return [trial._trial_id for trial in self._study.unfinished if _word(trial) == word]

    def _taken(self) -> dict[Key, int]:
        """Return the id of the first trial that claims each candidate, and end claims that were silent too long."""
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
            # One of the ended claims may have been finished at the last moment.
            self._study.look()
        return taken


def _word(trial: FrozenTrial) -> object:
    beat = trial.user_attrs.get(BEAT)
    return beat[0] if isinstance(beat, list) and beat else None
