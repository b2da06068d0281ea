"""The next generation: a pure function of the settings and of what completed generations found."""

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from itertools import islice

from mmhybrid.search.candidate import Candidate, Leaders
from mmhybrid.search.constraints import Constraint, Tally
from mmhybrid.search.errors import SearchError
from mmhybrid.search.samplers import Draw, Situation
from mmhybrid.search.stages import SearchSettings, Stage
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_float

Estimate = Callable[[Arch], Mapping[str, float]]

# After so many failed draws for a place every other one is random: parents too much alike have no new children.
PATIENCE = 20
# After so many, draws are walked towards the bounds: random ones meet them too rarely.
PATIENCE_FOR_BOUNDS = 500
# Steps without progress after which a walk begins anew elsewhere.
STALLED = 200
# Genes that a step of a walk redraws, on average.
GENES_A_STEP = 1.5


def propose(
    settings: SearchSettings,
    stage: Stage,
    generation: int,
    size: int,
    history: Sequence[Candidate],
    estimate: Estimate,
) -> tuple[list[Candidate], str]:
    """New networks that keep all constraints; see :meth:`Proposer.propose`."""
    return Proposer(settings, stage, estimate).propose(generation, size, history)


class Proposer:
    """Proposes the generations of a stage.

    What it has seen of the history it does not look at again, so that what a candidate costs does not grow with their
    number; a new one proposes the same.

    Args:
        settings: Of the search.
        stage: One of its stages.
        estimate: Costs of a network.
    """

    def __init__(self, settings: SearchSettings, stage: Stage, estimate: Estimate) -> None:
        self._settings = settings
        self._stage = stage
        self._estimate = estimate
        self._past: _Past | None = None

    def propose(self, generation: int, size: int, history: Sequence[Candidate]) -> tuple[list[Candidate], str]:
        """New networks that keep all constraints.

        A generation does not depend on the stage's budget or on ``max_tries``: a smaller ``size``, or draws that end
        early, give the first of the same candidates. So a search may go on with more of either.

        Args:
            generation: Its number.
            size: How many are wanted.
            history: All candidates before it; begins with that of the last call.

        Returns:
            The generation in the order of its draws, and why it is smaller than ``size``, empty if it is not.

        Raises:
            SearchError: If the stage has no candidate at all.
            ValueError: If a setting does not go with the space or the estimates.
        """
        settings, stage = self._settings, self._stage
        rng = random.Random(f'{settings.seed}/{stage.name}/{generation}')
        if self._past is None:
            self._past = _Past(settings, stage, history)
        past = self._past
        past.look(history)
        situation = past.situation(generation)
        # networks to start from take the places of as many of the sampler's first draws
        plan: list[Draw] = [partial(_itself, arch) for arch in situation.start[: stage.population]]
        plan += stage.sampler.plan(situation, rng)[len(plan) :]

        max_tries = settings.max_tries * (past.num_own + size) - past.tries
        gate = _Gate(settings.constraints, past.space, past.inside, self._estimate, rng, max_tries)
        found: list[Candidate] = []
        for draw in plan[:size]:
            admitted = gate.next_network(draw)
            if admitted is None:
                break
            arch, estimates, tally = admitted
            if stage.space is not None and (reason := settings.space.why_not(arch)):
                raise ValueError(
                    f'stage {stage.name}.space: has networks that the space of the search has not: {reason}'
                )
            rejected = dict(sorted(tally.rejected.items()))
            found.append(Candidate(stage.name, generation, len(found), arch, estimates, None, tally.tries, rejected))
        shortage = ''
        if len(found) < size:
            shortage = f'stage {stage.name!r}, generation {generation}: {gate.why_ended()}'
            if not found and not past.num_own:
                raise SearchError(shortage)
        return found, shortage


class _Archs:
    """Archs in the order of the history, and whether one is among them."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._archs: list[Arch] = []
        self._set: set[Arch] = set()

    def add(self, place: int, arch: Arch) -> None:
        """Add the arch of the candidate at a place of the history."""
        at = bisect_left(self._places, place)
        self._places.insert(at, place)
        self._archs.insert(at, arch)
        self._set.add(arch)

    def __getitem__(self, index: int) -> Arch:
        return self._archs[index]

    def __len__(self) -> int:
        return len(self._archs)

    def __contains__(self, arch: object) -> bool:
        return arch in self._set

    @property
    def num_different(self) -> int:
        """How many there are, equal ones counted once."""
        return len(self._set)


class _Past:
    """What the next generation of a stage depends on, of a history that becomes longer.

    Args:
        settings: Of the search.
        stage: The stage.
        history: All candidates of the stages that it builds on, at least.

    Attributes:
        space: Where the stage looks.
        inside: The known networks in it; they keep the constraints.
        num_own: How many candidates of the stage there are.
        tries: Draws for them.
    """

    def __init__(self, settings: SearchSettings, stage: Stage, history: Sequence[Candidate]) -> None:
        self._settings = settings
        self._stage = stage
        self._results = settings.results([c for c in history if c.stage in stage.sources])
        self.space = stage.narrow(settings.space, self._results)
        self.inside = _Archs()
        self.num_own = self.tries = 0
        self._compared: list[Candidate] = []
        self._leaders = Leaders(settings.objectives_of(stage), settings.tie_breaks_of(stage))
        # archs that need no second evaluation, and the places of those that may become so
        self._known: set[Arch] = set()
        self._unknown: dict[Arch, list[int]] = {}
        self._num_seen = 0

    def look(self, history: Sequence[Candidate]) -> None:
        """See what is new."""
        for place, candidate in enumerate(islice(history, self._num_seen, None), start=self._num_seen):
            arch, is_own = candidate.arch, candidate.stage == self._stage.name
            if is_own:  # drawn from the space of the stage
                self.num_own += 1
                self.tries += candidate.tries
                self.inside.add(place, arch)
            is_scored = candidate.metrics is not None
            if is_own or is_scored:
                if is_own or (self._stage.rank_by is None and self.space.contains(arch)):
                    self._compared.append(candidate)
                    self._leaders.add(candidate, place)
                self._known.add(arch)
            if not is_own:
                self._unknown.setdefault(arch, []).append(place)
            if arch in self._known:
                for earlier in self._unknown.pop(arch, ()):
                    if self.space.contains(arch):
                        self.inside.add(earlier, arch)
        self._num_seen = len(history)

    def situation(self, generation: int) -> Situation:
        """What the sampler sees."""
        settings, stage = self._settings, self._stage
        starts = stage.starts(self.space, self._results) if generation == 0 else []
        return Situation(
            stage=stage.name,
            space=self.space,
            history=tuple(self._compared),
            objectives=settings.objectives_of(stage),
            tie_breaks=settings.tie_breaks_of(stage),
            start=[arch for arch in starts if arch not in self._known],
            generation=generation,
            size=stage.population,
            leaders=self._leaders,
        )


def _itself(arch: Arch) -> Arch:
    return arch


class _Gate:
    """Lets new and allowed networks through, and gives up after a bounded number of tries.

    Args:
        constraints: What a network must keep.
        space: Where the networks are.
        known: Those that were proposed before; they keep the constraints too.
        estimate: Costs of a network.
        rng: What everything random is drawn from.
        max_tries: Draws for all places together.
    """

    def __init__(
        self,
        constraints: Sequence[Constraint],
        space: SearchSpace,
        known: _Archs,
        estimate: Estimate,
        rng: random.Random,
        max_tries: int,
    ) -> None:
        self._constraints = constraints
        self._space = space
        self._known = known
        self._new: dict[Arch, None] = {}
        self._estimate = estimate
        self._rng = rng
        self._max_tries = max_tries
        self._rejected: dict[Arch, Mapping[str, float]] = {}
        self._total = Tally()

    def next_network(self, draw: Draw) -> tuple[Arch, Mapping[str, float], Tally] | None:
        """The next network that is new and keeps the constraints, its costs, and what was tried; None for none."""
        latest = Tally()
        attempts = self._attempts(draw)
        arch = next(attempts)
        while self._total.tries + latest.tries < self._max_tries and not self._is_exhausted():
            if arch in self._new or arch in self._known:
                latest.count_known()
                excess = 0.0
            else:
                estimates = self._rejected.get(arch) or self._checked_estimate(arch)
                excess = latest.excess(arch, estimates, self._constraints)
                if not excess:
                    self._new[arch] = None
                    self._total.add(latest)
                    return arch, estimates, latest
                self._rejected[arch] = estimates
            arch = attempts.send(excess)
        self._total.add(latest)
        return None

    def _attempts(self, draw: Draw) -> Generator[Arch, float, None]:
        """Networks to try for a place, each answered with how far it is outside the bounds.

        At first the sampler's draws, then also random ones. After many of them a walk of small mutations, none of
        which leads farther outside, starts from the nearest, and later ones in turn from a known network, which
        keeps the bounds, and from a random one. Inside the bounds it walks on until it meets a new network.
        """
        nearest, least = None, math.inf
        for attempt in range(PATIENCE_FOR_BOUNDS):
            arch = draw() if attempt < PATIENCE or attempt % 2 else self._space.sample(self._rng)
            excess = yield arch
            if nearest is None or excess < least:
                nearest, least = arch, excess
        restarts = 0
        while True:
            assert nearest is not None
            stalled = 0
            while stalled < STALLED:
                step = self._space.mutate(nearest, self._rng, min(GENES_A_STEP / max(len(nearest), 1), 1))
                excess = yield step
                stalled = 0 if excess < least else stalled + 1
                if excess <= least:
                    nearest, least = step, excess
            restarts += 1
            allowed = range(len(self._known) + len(self._new))
            if restarts % 2 and allowed:
                nearest, least = self._allowed(self._rng.choice(allowed)), 0.0
            else:
                nearest = self._space.sample(self._rng)
                least = yield nearest

    def _allowed(self, place: int) -> Arch:
        """A network that keeps the bounds: the known ones come first, then those that were found here."""
        num_known = len(self._known)
        return self._known[place] if place < num_known else list(self._new)[place - num_known]

    def why_ended(self) -> str:
        """Say why no more is proposed."""
        if self._is_exhausted():
            reason = f'all {self._space.size()} networks of its space have been looked at'
        else:
            reason = f'no new network within {self._max_tries} tries (max_tries for each candidate)'
        return reason + self._total.describe(self._constraints)

    def _checked_estimate(self, arch: Arch) -> dict[str, float]:
        return {name: check_float(f'estimate {name}', value, -math.inf) for name, value in self._estimate(arch).items()}

    def _is_exhausted(self) -> bool:
        return self._known.num_different + len(self._new) + len(self._rejected) >= self._space.size()
