"""The proposal of the next generation, a pure function of the settings and of the completed generations."""

import random
from collections.abc import Sequence
from functools import partial
from itertools import islice

from mmhybrid.search.candidate import Candidate, Leaders
from mmhybrid.search.constraints import Estimate
from mmhybrid.search.errors import SearchError
from mmhybrid.search.gate import Archs, Gate
from mmhybrid.search.samplers import Draw, Situation
from mmhybrid.search.settings import SearchSettings
from mmhybrid.search.stages import Stage
from mmhybrid.space import Arch


def propose(
    settings: SearchSettings,
    stage: Stage,
    generation: int,
    size: int,
    history: Sequence[Candidate],
    estimate: Estimate,
) -> tuple[list[Candidate], str]:
    """Propose new networks that keep all constraints; see :meth:`Proposer.propose`."""
    return Proposer(settings, stage, estimate).propose(generation, size, history)


class Proposer:
    """The proposer of a stage's generations.

    It reads each candidate of the history once, so the cost of a candidate does not grow with their number. A new
    proposer proposes the same generations.

    Args:
        settings: Settings of the search.
        stage: One of its stages.
        estimate: Function that returns the costs of a network.
    """

    def __init__(self, settings: SearchSettings, stage: Stage, estimate: Estimate) -> None:
        self._settings = settings
        self._stage = stage
        self._estimate = estimate
        self._past: _Past | None = None

    def propose(self, generation: int, size: int, history: Sequence[Candidate]) -> tuple[list[Candidate], str]:
        """Propose new networks that keep all constraints.

        A generation does not depend on the stage's budget or on ``max_tries``: a smaller ``size``, or draws that end
        early, give the first candidates of the same generation. So a search can go on with a larger budget or more
        tries.

        Args:
            generation: Index of the generation.
            size: Number of networks wanted.
            history: All earlier candidates; it begins with the history of the previous call.

        Returns:
            The generation in the order of its draws, and the reason why it is smaller than ``size``, empty if it is
            not.

        Raises:
            SearchError: If the stage has no candidate at all.
            ValueError: If a setting does not fit the search space or the estimates.
        """
        settings, stage = self._settings, self._stage
        rng = random.Random(f'{settings.seed}/{stage.name}/{generation}')
        if self._past is None:
            self._past = _Past(settings, stage, history)
        past = self._past
        past.look(history)
        situation = past.situation(generation)
        # Each start network takes the place of one of the sampler's first draws.
        plan: list[Draw] = [partial(_itself, arch) for arch in situation.start[: stage.population]]
        plan += stage.sampler.plan(situation, rng)[len(plan) :]

        max_tries = settings.max_tries * (past.num_own + size) - past.tries
        gate = Gate(settings.constraints, past.space, past.inside, self._estimate, rng, max_tries)
        found: list[Candidate] = []
        for draw in plan[:size]:
            admitted = gate.next_network(draw)
            if admitted is None:
                break
            arch, estimates, tally = admitted
            if stage.space is not None and (reason := settings.space.why_not(arch)):
                raise ValueError(f'stage {stage.name}.space: has networks outside the space of the search: {reason}')
            rejected = dict(sorted(tally.rejected.items()))
            found.append(Candidate(stage.name, generation, len(found), arch, estimates, None, tally.tries, rejected))
        shortage = ''
        if len(found) < size:
            shortage = f'stage {stage.name!r}, generation {generation}: {gate.why_ended()}'
            if not found and not past.num_own:
                raise SearchError(shortage)
        return found, shortage


class _Past:
    """The part of a growing history on which the next generation of a stage depends.

    Args:
        settings: Settings of the search.
        stage: The stage.
        history: Candidates, at least all of the stages on which this one builds.

    Attributes:
        space: Search space of the stage.
        inside: Known networks in this space; they keep the constraints.
        num_own: Number of candidates of the stage.
        tries: Number of draws for these candidates.
    """

    def __init__(self, settings: SearchSettings, stage: Stage, history: Sequence[Candidate]) -> None:
        self._settings = settings
        self._stage = stage
        self._results = settings.results([c for c in history if c.stage in stage.sources])
        self.space = stage.narrow(settings.space, self._results)
        self.inside = Archs()
        self.num_own = self.tries = 0
        self._compared: list[Candidate] = []
        self._leaders = Leaders(settings.objectives_of(stage), settings.tie_breaks_of(stage))
        # _known holds architectures that need no second evaluation, and _unknown the places of those that may become
        # known.
        self._known: set[Arch] = set()
        self._unknown: dict[Arch, list[int]] = {}
        self._num_seen = 0

    def look(self, history: Sequence[Candidate]) -> None:
        """Read the new candidates of the history."""
        for place, candidate in enumerate(islice(history, self._num_seen, None), start=self._num_seen):
            arch, is_own = candidate.arch, candidate.stage == self._stage.name
            if is_own:  # it was drawn from the space of the stage
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
        """Return the situation that the sampler sees."""
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
