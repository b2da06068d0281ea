"""The search itself, which proposes a generation, evaluates the candidates that are not stored yet, and repeats."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from mmhybrid.search.candidate import Candidate, Key, Leaders
from mmhybrid.search.constraints import Estimate
from mmhybrid.search.errors import SearchError, StorageError
from mmhybrid.search.evaluation import evaluated
from mmhybrid.search.proposals import Proposer
from mmhybrid.search.result import SearchResult, is_ranked, ranking_of
from mmhybrid.search.settings import SearchSettings
from mmhybrid.search.storage import StudyStorage
from mmhybrid.search.team import Team
from mmhybrid.search.watchers import Progress, Watcher
from mmhybrid.utils.checks import bad_value, check_float, check_int

COST = 'macs_m'
# With fewer evaluations than this, the share of failures says nothing yet.
FEW = 10


class Searcher:
    """A search, which runs to its end from the state of its storage.

    Args:
        settings: Settings of the search.
        estimate: Function that returns the costs of an architecture. It must be pure and fast, and is called before the
            evaluation.
        evaluate: Function that returns the scores of an architecture, which must be the same wherever it is evaluated.
            Ranks evaluate different architectures at the same time, so it must not wait for other ranks. If the
            settings have racing, it is also called with the argument ``floor``, the score that the network must reach.
        storage: Storage of the finished candidates, which is opened on rank 0 only.
        team: Ranks that search together; None for this process alone.
        watcher: Receiver of progress and messages; None for no receiver.
        poll_seconds: Interval in seconds at which a shared search looks whether other processes have finished.
        evaluation_tries: Number of evaluations of a network that raise an error before it is recorded as failed.
        max_failed: Largest allowed ratio of failed evaluations to all evaluations, or to ten if there are fewer; one
            more failure ends the search.
        save: Function that is called on rank 0 with the result so far, after each generation and when the search ends
            for any reason.

    Raises:
        ValueError: If the storage is shared and there are several ranks (several single processes may share one), or
            another argument is wrong.
    """

    def __init__(
        self,
        settings: SearchSettings,
        estimate: Estimate,
        evaluate: Callable[..., Mapping[str, float]],
        storage: StudyStorage,
        team: Team | None = None,
        watcher: Watcher | None = None,
        poll_seconds: float = 1.0,
        evaluation_tries: int = 2,
        max_failed: float = 0.2,
        save: Callable[[SearchResult], object] | None = None,
    ) -> None:
        self.settings = settings
        self._estimate = estimate
        self._evaluate = evaluate
        self._storage = storage
        self._team = team or Team()
        self._watcher = watcher
        self._poll_seconds = poll_seconds
        self._evaluation_tries = check_int('evaluation_tries', evaluation_tries, 1)
        self._max_failed = check_float('max_failed', max_failed, 0, 1)
        self._save = save
        self._finished: dict[Key, Candidate] = {}
        # _ahead holds the finished candidates of generations that are not complete.
        self._ahead: dict[Key, Candidate] = {}
        self._leaders = Leaders(*ranking_of(settings))
        self._failures: Counter[str] = Counter()
        self._floors: dict[Key, float] = {}
        self._best: Candidate | None = None
        self._measured: set[str] = set()
        self._num_recalled = 0
        self._places = {stage.name: place for place, stage in enumerate(settings.stages)}
        if storage.shared and self._team.world_size > 1:
            raise bad_value('shared', True, 'False with several ranks')

    def run(self) -> SearchResult:
        """Search to the end from what the storage holds, and return the result, which is the same on every rank.

        Raises:
            SearchError: If a stage finds no candidate at all, too many evaluations fail, or the storage does not fit.
            ValueError: If the settings do not fit the search space, the estimates or the metrics.
        """
        history: list[Candidate] = []
        seconds = 0.0
        shortages: list[str] = []
        try:
            self._storage.tell = self._say
            self._recall(self._team.lead(self._open))
            for stage in self.settings.stages:
                proposer = Proposer(self.settings, stage, self._estimate)
                for generation, size in stage.generations():
                    began = time.monotonic()
                    proposals, shortage = self._team.lead(partial(proposer.propose, generation, size, history))
                    seconds += time.monotonic() - began
                    history += self._ranked_only(proposals) if stage.rank_by else self._scored(proposals, history)
                    self._save_found(history)
                    if shortage:
                        self._say(f'{shortage}; the stage ends')
                        shortages.append(shortage)
                        break
        except BaseException:  # including an interruption
            self._save_found(history)
            raise
        finally:
            self._storage.close()
        return SearchResult(self.settings, tuple(history), seconds, tuple(shortages))

    def _save_found(self, history: Sequence[Candidate]) -> None:
        """Save the result so far, including the finished candidates of an incomplete generation."""
        if self._save is None or self._team.rank:
            return
        latest = sorted(self._ahead.values(), key=lambda candidate: candidate.key)
        result = SearchResult(self.settings, (*history, *latest), leaders=self._leaders)
        if result.top(1):
            self._save(result)

    def _open(self) -> dict[Key, Candidate]:
        self._storage.open()
        return self._storage.load()

    def _scored(self, proposals: Sequence[Candidate], history: Sequence[Candidate]) -> list[Candidate]:
        """Return the proposals with their metrics, after evaluating those that are not stored."""
        for proposal in proposals:
            stored = self._finished.get(proposal.key)
            if stored is not None and replace(stored, metrics=None, failure='') != proposal:
                raise StorageError(
                    f'{self._storage.location}: candidate {proposal.key} is another network, or has other '
                    'costs, than the one that is proposed now; the estimates or the program have changed since'
                )
        self._floors = self._floors_of(proposals, history)
        if self._storage.shared:
            self._evaluate_with_others(proposals)
        else:
            self._evaluate_missing(proposals)
        for proposal in proposals:
            self._ahead.pop(proposal.key, None)
        return [self._finished[proposal.key] for proposal in proposals]

    def _floors_of(self, proposals: Sequence[Candidate], history: Sequence[Candidate]) -> dict[Key, float]:
        """Return the score that each proposal must reach, where racing may stop it, from complete generations alone."""
        racing = self.settings.racing
        if racing is None:
            return {}
        floors = {}
        for proposal in proposals:
            rivals = (candidate for candidate in history if candidate.stage == proposal.stage)
            floor = racing.floor(proposal, rivals, self.settings.objectives)
            if floor is not None:
                floors[proposal.key] = floor
        return floors

    def _ranked_only(self, proposals: Sequence[Candidate]) -> Sequence[Candidate]:
        """Rank and return the proposals of a stage that evaluates nothing."""
        for proposal in proposals:
            self._rank(proposal)
        return proposals

    def _rank(self, candidate: Candidate) -> None:
        if is_ranked(candidate, self.settings):
            self._leaders.add(candidate, (self._places[candidate.stage], candidate.generation, candidate.index))

    def _evaluate_missing(self, proposals: Sequence[Candidate]) -> None:
        """Evaluate the missing candidates in turns of one per rank; rank 0 stores them in order."""
        team = self._team
        missing = _by_cost(proposal for proposal in proposals if proposal.key not in self._finished)
        for first in range(0, len(missing), team.world_size):
            turn = missing[first : first + team.world_size]
            scored = team.share(partial(self._evaluate_first, turn[team.rank : team.rank + 1]))
            finished = self._completed([candidate for candidate in scored if candidate is not None])
            team.lead(partial(self._commit, finished))
            for candidate in finished:
                self._note(candidate)
            self._check_failures(finished)

    def _commit(self, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            self._storage.commit(candidate)

    def _evaluate_with_others(self, proposals: Sequence[Candidate]) -> None:
        """Evaluate candidates that no other process works on, until all are stored."""
        has_waited = False
        while True:
            self._recall(self._storage.load())
            missing = _by_cost(proposal for proposal in proposals if proposal.key not in self._finished)
            if not missing:
                return
            claim = self._storage.claim(missing)
            if claim is None:
                if not has_waited:
                    self._say(
                        f'waiting for {len(missing)} candidates that other processes have claimed; each is taken over '
                        f'when its process has been silent for {self._storage.claim_hours * 60:g} min'
                    )
                has_waited = True
                time.sleep(self._poll_seconds)
            else:
                self._evaluate_claimed(*claim)

    def _evaluate_claimed(self, ticket: int, proposal: Candidate) -> None:
        """Evaluate and store a claimed candidate; if anything ends this process before, release the claim at once."""
        try:
            scored = self._evaluate_first([proposal])
            assert scored is not None
            [candidate] = self._completed([scored])
            counts = self._storage.finish(ticket, candidate)
        except BaseException:
            self._storage.release(ticket)
            raise
        if counts:
            self._note(candidate)
            self._check_failures([candidate])
        else:
            self._say(f'candidate {candidate.key} was taken over by another process, which received no heartbeat')

    def _evaluate_first(self, proposals: Sequence[Candidate]) -> Candidate | None:
        """Return the first of the proposals with its scores; None if there is none."""
        if not proposals:
            return None
        [proposal] = proposals
        floor = self._floors.get(proposal.key)
        evaluate = self._evaluate if floor is None else partial(self._evaluate, floor=floor)
        return evaluated(proposal, evaluate, self.settings.objectives, self._evaluation_tries)

    def _check_failures(self, latest: Sequence[Candidate]) -> None:
        """Raise SearchError if one of the latest evaluations failed and the allowed share of failures is exceeded."""
        if not any(candidate.failure for candidate in latest):
            return
        reasons = self._failures
        if reasons.total() > self._max_failed * max(len(self._finished), FEW):
            text = '; '.join(f'{count} x {reason}' for reason, count in reasons.most_common())
            raise SearchError(
                f'{reasons.total()} of {len(self._finished)} evaluations failed, more than the allowed share of '
                f'{self._max_failed:g} (max_failed): {text}'
            )

    def _completed(self, turn: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates with NaN for each objective that other candidates have and they lack.

        The result is the same on every rank.

        Raises:
            ValueError: If no candidate so far has one of the objectives.
        """
        objectives = self.settings.objectives
        known = self._measured.union(*(candidate.numbers for candidate in turn if not candidate.failure))
        completed = []
        for candidate in turn:
            if candidate.failure:
                self._say(f'candidate {candidate.key} failed: its evaluation raised {candidate.failure}')
            missing = [o.name for o in objectives if o.name in known and o.name not in candidate.numbers]
            if missing:
                self._say(f'candidate {candidate.key} failed: its evaluation gave no {", ".join(missing)}')
                candidate = candidate.evaluated({**(candidate.metrics or {}), **dict.fromkeys(missing, math.nan)})
            candidate.losses(objectives)
            completed.append(candidate)
        return completed

    def _recall(self, stored: dict[Key, Candidate]) -> None:
        # New candidates come last; only they are read, because the earlier ones may be many.
        latest = list(islice(reversed(stored), len(stored) - self._num_recalled))
        for candidate in map(stored.__getitem__, reversed(latest)):
            if candidate.key not in self._finished:
                self._remember(candidate)
        self._num_recalled = len(stored)

    def _remember(self, candidate: Candidate) -> None:
        self._finished[candidate.key] = self._ahead[candidate.key] = candidate
        self._rank(candidate)
        if candidate.failure:
            self._failures[candidate.failure] += 1
        else:
            self._measured.update(candidate.numbers)
        objectives = self.settings.objectives
        decisive = (*objectives, *self.settings.tie_breaks)
        if not candidate.has_failed(objectives) and (
            self._best is None or candidate.losses(decisive) < self._best.losses(decisive)
        ):
            self._best = candidate

    def _note(self, candidate: Candidate) -> None:
        self._remember(candidate)
        if self._watcher is not None and self._team.rank == 0:
            self._watcher.on_candidate(candidate, Progress(len(self._finished), self.settings.budget, self._best))

    def _say(self, text: str) -> None:
        if self._watcher is not None and self._team.rank == 0:
            self._watcher.on_message(text)


def _by_cost(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates by their estimated MACs, so that ranks that evaluate neighbours hardly wait."""
    return sorted(candidates, key=lambda candidate: candidate.estimates.get(COST, 0.0))
