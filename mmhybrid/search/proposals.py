"""The next generation: a pure function of the settings and of what completed generations found."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.constraints import Tally
from mmhybrid.search.errors import SearchError
from mmhybrid.search.samplers import Draw, Situation
from mmhybrid.search.stages import SearchSettings, Stage
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_float

Estimate = Callable[[Arch], Mapping[str, float]]

# Ranks evaluate neighbours at the same time; sorted by this estimate they wait little for each other.
COST = 'macs_m'
# Draws a sampler has for one candidate before every other one is random: parents too much alike have no new children.
PATIENCE = 20


def propose(
    settings: SearchSettings,
    stage: Stage,
    generation: int,
    size: int,
    history: Sequence[Candidate],
    estimate: Estimate,
) -> tuple[list[Candidate], str]:
    """New networks that keep all constraints.

    Returns:
        The generation, and why it is smaller than ``size``, empty if it is not.

    Raises:
        SearchError: If the stage has no candidate at all.
        ValueError: If a setting does not go with the space or the estimates.
    """
    rng = random.Random(f'{settings.seed}/{stage.name}/{generation}')
    known = {c.arch for c in history if c.metrics is not None or c.stage == stage.name}
    situation = _situation(settings, stage, generation, size, history, known)
    space = situation.space
    # networks to start from take the places of as many of the sampler's first draws
    plan: list[Draw] = [partial(_itself, arch) for arch in situation.start[:size]]
    plan += stage.sampler.plan(situation, rng)[len(plan) :]

    gate = _Gate(settings, space, known, estimate)
    found: list[Candidate] = []
    for draw in plan:
        candidate = gate.next_candidate(draw, partial(space.sample, rng), stage.name, generation)
        if candidate is None:
            break
        if stage.space is not None and (reason := settings.space.why_not(candidate.arch)):
            raise ValueError(f'stage {stage.name}.space: has networks that the space of the search has not: {reason}')
        found.append(candidate)
    found.sort(key=lambda candidate: candidate.estimates.get(COST, 0.0))
    shortage = ''
    if len(found) < size:
        shortage = f'stage {stage.name!r}, generation {generation}: {gate.why_ended()}'
        if not found and not any(c.stage == stage.name for c in history):
            raise SearchError(shortage)
    return [replace(candidate, index=index) for index, candidate in enumerate(found)], shortage


def _situation(
    settings: SearchSettings,
    stage: Stage,
    generation: int,
    size: int,
    history: Sequence[Candidate],
    known: set[Arch],
) -> Situation:
    """What the sampler of a stage sees."""
    results = settings.results(history)
    space = stage.narrow(settings.space, results)
    compared = [c for c in history if c.stage == stage.name or (c.metrics is not None and stage.rank_by is None)]
    return Situation(
        stage=stage.name,
        space=space,
        history=[c for c in compared if space.contains(c.arch)],
        objectives=settings.objectives_of(stage),
        start=[arch for arch in stage.start(space, results) if arch not in known] if generation == 0 else [],
        generation=generation,
        size=size,
    )


def _itself(arch: Arch) -> Arch:
    return arch


class _Gate:
    """Lets new and allowed networks through, and gives up within a bounded number of tries."""

    def __init__(self, settings: SearchSettings, space: SearchSpace, known: set[Arch], estimate: Estimate) -> None:
        self._settings = settings
        self._estimate = estimate
        self._known = {arch for arch in known if space.contains(arch)}
        self._rejected: dict[Arch, Mapping[str, float]] = {}
        self._size = space.size()
        self._total = Tally()

    def next_candidate(self, draw: Draw, sample: Draw, stage: str, generation: int) -> Candidate | None:
        """The next network that is new and keeps the constraints; None when there is none to be found."""
        max_tries = self._settings.max_tries
        latest = Tally()
        for attempt in range(max_tries):
            if self._is_exhausted():
                break
            arch = (draw if attempt < PATIENCE or attempt % 2 else sample)()
            if arch in self._known:
                latest.count_known()
                continue
            estimates = self._rejected.get(arch) or self._checked_estimate(arch)
            if latest.admits(arch, estimates, self._settings.constraints):
                self._known.add(arch)
                self._total.add(latest)
                counts = dict(sorted(latest.rejected.items()))
                return Candidate(stage, generation, 0, arch, estimates, tries=latest.tries, rejected=counts)
            self._rejected[arch] = estimates
        self._total.add(latest)
        return None

    def why_ended(self) -> str:
        """Say why no more is proposed."""
        if self._is_exhausted():
            reason = f'all {self._size} networks of its space have been looked at'
        else:
            reason = f'no new network within {self._settings.max_tries} tries (max_tries)'
        return reason + self._total.describe(self._settings.constraints)

    def _checked_estimate(self, arch: Arch) -> dict[str, float]:
        return {name: check_float(f'estimate {name}', value, -math.inf) for name, value in self._estimate(arch).items()}

    def _is_exhausted(self) -> bool:
        return len(self._known) + len(self._rejected) >= self._size
