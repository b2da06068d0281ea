"""The next generation: a pure function of the settings and of what completed generations found."""

import math
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial

from mmhybrid.search.candidate import Candidate
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
    """New networks that keep all constraints.

    A generation does not depend on the stage's budget or on ``max_tries``: a smaller ``size``, or draws that end
    early, give the first of the same candidates. So a search may go on with more of either.

    Returns:
        The generation in the order of its draws, and why it is smaller than ``size``, empty if it is not.

    Raises:
        SearchError: If the stage has no candidate at all.
        ValueError: If a setting does not go with the space or the estimates.
    """
    rng = random.Random(f'{settings.seed}/{stage.name}/{generation}')
    known = {c.arch for c in history if c.metrics is not None or c.stage == stage.name}
    situation = _situation(settings, stage, generation, history, known)
    # networks to start from take the places of as many of the sampler's first draws
    plan: list[Draw] = [partial(_itself, arch) for arch in situation.start[: stage.population]]
    plan += stage.sampler.plan(situation, rng)[len(plan) :]

    tries_before = [candidate.tries for candidate in history if candidate.stage == stage.name]
    max_tries = settings.max_tries * (len(tries_before) + size) - sum(tries_before)
    # those of this stage were drawn from its space
    inside = [
        c.arch for c in history if c.stage == stage.name or (c.arch in known and situation.space.contains(c.arch))
    ]
    gate = _Gate(settings.constraints, situation.space, inside, estimate, rng, max_tries)
    found: list[Candidate] = []
    for draw in plan[:size]:
        admitted = gate.next_network(draw)
        if admitted is None:
            break
        arch, estimates, tally = admitted
        if stage.space is not None and (reason := settings.space.why_not(arch)):
            raise ValueError(f'stage {stage.name}.space: has networks that the space of the search has not: {reason}')
        rejected = dict(sorted(tally.rejected.items()))
        found.append(Candidate(stage.name, generation, len(found), arch, estimates, None, tally.tries, rejected))
    shortage = ''
    if len(found) < size:
        shortage = f'stage {stage.name!r}, generation {generation}: {gate.why_ended()}'
        if not found and not tries_before:
            raise SearchError(shortage)
    return found, shortage


def _situation(
    settings: SearchSettings,
    stage: Stage,
    generation: int,
    history: Sequence[Candidate],
    known: set[Arch],
) -> Situation:
    """What the sampler of a stage sees."""
    results = settings.results([c for c in history if c.stage in stage.sources])
    space = stage.narrow(settings.space, results)
    compared = [c for c in history if c.stage == stage.name or (c.metrics is not None and stage.rank_by is None)]
    return Situation(
        stage=stage.name,
        space=space,
        history=[c for c in compared if c.stage == stage.name or space.contains(c.arch)],
        objectives=settings.objectives_of(stage),
        tie_breaks=settings.tie_breaks_of(stage),
        start=[arch for arch in stage.starts(space, results) if arch not in known] if generation == 0 else [],
        generation=generation,
        size=stage.population,
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
        known: Sequence[Arch],
        estimate: Estimate,
        rng: random.Random,
        max_tries: int,
    ) -> None:
        self._constraints = constraints
        self._space = space
        self._known = set(known)
        self._allowed = list(known)
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
            if arch in self._known:
                latest.count_known()
                excess = 0.0
            else:
                estimates = self._rejected.get(arch) or self._checked_estimate(arch)
                excess = latest.excess(arch, estimates, self._constraints)
                if not excess:
                    self._known.add(arch)
                    self._allowed.append(arch)
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
            if restarts % 2 and self._allowed:
                nearest, least = self._rng.choice(self._allowed), 0.0
            else:
                nearest = self._space.sample(self._rng)
                least = yield nearest

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
        return len(self._known) + len(self._rejected) >= self._space.size()
