"""Samplers, which choose the networks to try next: evolution as published, random search, and Optuna's samplers."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from mmhybrid.registry import SAMPLERS
from mmhybrid.search.candidate import Candidate, Leaders, ranked
from mmhybrid.search.optuna_tools import distributions, quiet
from mmhybrid.search.pareto import Objective
from mmhybrid.space import Arch, SearchSpace, Value
from mmhybrid.utils.checks import bad_value, check_float, check_int

Draw = Callable[[], Arch]


@dataclass(frozen=True)
class Situation:
    """All that a sampler may know when it proposes a generation.

    Args:
        stage: Name of the stage.
        space: Search space of the stage.
        history: Candidates of completed generations that lie in the space, in the order of the search.
        objectives: Objectives that rank candidates.
        start: Networks of an earlier stage, around which the sampler searches.
        generation: Index of the generation to propose.
        size: Number of networks to propose.
        tie_breaks: Objectives that decide between equal candidates.
        leaders: Best candidates of the history, if they are kept; None to rank the history.
    """

    stage: str
    space: SearchSpace
    history: Sequence[Candidate]
    objectives: Sequence[Objective]
    start: Sequence[Arch]
    generation: int
    size: int
    tie_breaks: Sequence[Objective] = ()
    leaders: Leaders | None = None

    def best(self, count: int) -> list[Arch]:
        """Return the ``count`` best architectures; in the first generation, return all start networks."""
        if self.generation == 0:
            return list(self.start)
        if self.leaders is not None:
            return [candidate.arch for candidate in self.leaders.first(count)]
        return [candidate.arch for candidate in ranked(self.history, self.objectives, self.tie_breaks)[:count]]


@runtime_checkable
class Sampler(Protocol):
    """An algorithm that proposes networks."""

    def plan(self, situation: Situation, rng: random.Random) -> Sequence[Draw]:
        """Return one draw for each place of the generation.

        Each draw is a function that is called until it returns a network that is new and keeps the constraints.
        """

    def to_config(self) -> dict[str, Any]:
        """Return ``type`` and the arguments as plain JSON."""


@SAMPLERS.register_module()
@dataclass(frozen=True)
class RandomSampler:
    """A sampler of independent random networks (:meth:`SearchSpace.sample`)."""

    def plan(self, situation: Situation, rng: random.Random) -> Sequence[Draw]:
        """See :class:`Sampler`."""
        return [partial(situation.space.sample, rng)] * situation.size

    def to_config(self) -> dict[str, Any]:
        """See :class:`Sampler`."""
        return {'type': 'RandomSampler'}


@SAMPLERS.register_module()
@dataclass(frozen=True)
class Evolution:
    """The evolutionary search of SPOS and GLiT.

    The first generation is random unless there are start networks, which are then its parents. The parents of each
    later generation are the best networks of all generations so far. A share of the generation mutates one parent, a
    share crosses two parents, and the rest is random.

    Args:
        num_parents: Number of the best networks that are parents.
        mutation_share: Share of a generation that is mutated, from 0 to 1.
        crossover_share: Share of a generation that is crossed, from 0 to ``1 - mutation_share``.
        mutate_prob: Probability with which a mutation redraws each gene.

    Raises:
        ValueError: If an argument is wrong. The message names the argument, its value and what is allowed.
    """

    num_parents: int = 10
    mutation_share: float = 0.5
    crossover_share: float = 0.5
    mutate_prob: float = 0.1

    def __post_init__(self) -> None:
        check_int('num_parents', self.num_parents, 1)
        check_float('mutation_share', self.mutation_share, 0, 1)
        check_float('crossover_share', self.crossover_share, 0, 1 - self.mutation_share)
        check_float('mutate_prob', self.mutate_prob, 0, 1)

    def plan(self, situation: Situation, rng: random.Random) -> Sequence[Draw]:
        """See :class:`Sampler`."""
        space, size = situation.space, situation.size
        parents = situation.best(self.num_parents)
        if not parents:
            return RandomSampler().plan(situation, rng)

        def mutate() -> Arch:
            return self._mutate(space, rng.choice(parents), rng)

        def cross() -> Arch:
            a, b = rng.sample(parents, 2) if len(parents) > 1 else parents * 2
            return space.crossover(a, b, rng)

        num_mutated = round(size * self.mutation_share)
        num_crossed = min(round(size * self.crossover_share), size - num_mutated)
        num_random = size - num_mutated - num_crossed
        return [mutate] * num_mutated + [cross] * num_crossed + [partial(space.sample, rng)] * num_random

    def _mutate(self, space: SearchSpace, arch: Arch, rng: random.Random) -> Arch:
        return space.mutate(arch, rng, self.mutate_prob)

    def to_config(self) -> dict[str, Any]:
        """See :class:`Sampler`."""
        return {'type': type(self).__name__, **asdict(self)}


@SAMPLERS.register_module()
@dataclass(frozen=True)
class BlockEvolution(Evolution):
    """The evolutionary search of AutoViT (algorithm 2), which mutates depths first, and then whole blocks.

    Args:
        depth_prob: Probability that a mutation redraws all depths (Pd).
        block_prob: Probability that a mutation redraws a block, for each block (Pm).

    Raises:
        ValueError: If an argument is wrong. The message names the argument, its value and what is allowed.
    """

    mutate_prob: float = field(default=0.0, init=False, repr=False)
    depth_prob: float = 0.2
    block_prob: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_float('depth_prob', self.depth_prob, 0, 1)
        check_float('block_prob', self.block_prob, 0, 1)

    def _mutate(self, space: SearchSpace, arch: Arch, rng: random.Random) -> Arch:
        return space.mutate_blocks(arch, rng, self.depth_prob, self.block_prob)

    def to_config(self) -> dict[str, Any]:
        """See :class:`Sampler`."""
        return {name: value for name, value in super().to_config().items() if name != 'mutate_prob'}


@SAMPLERS.register_module()
@dataclass(frozen=True)
class OptunaSampler:
    """Any sampler of ``optuna.samplers`` that takes a seed and categorical choices.

    The sampler is built again for each generation, with a seed of its own and the completed generations, and its
    proposals depend on nothing else. It sees every gene of every network; genes without effect have random values. If
    the earlier genes do not allow a proposed value, the nearest allowed value replaces it.

    Args:
        name: Name of the class: ``NSGAIISampler``, ``TPESampler``, ...
        options: Arguments of the class, except the seed, and except the population size of genetic samplers, which is
            the size of the generation.

    Raises:
        ValueError: If there is no such sampler, or it does not take the options.
    """

    name: str = 'NSGAIISampler'
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = sorted(name for name in optuna.samplers.__all__ if name.endswith('Sampler'))
        # It takes numbers, and draws categorical choices at random with a warning for each gene.
        names.remove('CmaEsSampler')
        names.remove('GridSampler')  # it lists all combinations of values, of which a search space has too many
        if self.name not in names:
            raise bad_value('sampler', self.name, f'one of {names}, which take categorical choices')
        if taken := sorted({'seed', 'population_size'} & set(self.options)):
            raise bad_value(f'{self.name} options', taken[0], 'not this one: the search sets it')
        self._build(seed=0, population_size=2)

    def _build(self, seed: int, population_size: int) -> BaseSampler:
        build: type[Any] = getattr(optuna.samplers, self.name)
        genetic = {'population_size': max(population_size, 2)} if issubclass(build, _GENETIC) else {}
        try:
            sampler: BaseSampler = build(**self.options, **genetic, seed=seed)
        except TypeError as error:
            raise ValueError(f'{self.name}: {error}') from error
        return sampler

    def plan(self, situation: Situation, rng: random.Random) -> Sequence[Draw]:
        """See :class:`Sampler`."""
        space = situation.space
        choices = distributions(space)
        with quiet():
            study = optuna.create_study(
                directions=[objective.direction for objective in situation.objectives],
                sampler=self._build(rng.getrandbits(31), situation.size),
            )
            for candidate in situation.history:
                if not candidate.has_failed(situation.objectives):
                    study.add_trial(self._trial(candidate, situation, choices, rng))

        def draw() -> Arch:
            genes = study.ask(dict(choices)).params
            return space.walk(lambda name, options: _nearest(genes[name], options, space.choices[name].values))

        return [draw] * situation.size

    def _trial(
        self,
        candidate: Candidate,
        situation: Situation,
        choices: Mapping[str, optuna.distributions.CategoricalDistribution],
        rng: random.Random,
    ) -> optuna.trial.FrozenTrial:
        genes = {name: candidate.arch.get(name, rng.choice(choices[name].choices)) for name in choices}
        return optuna.create_trial(
            state=TrialState.COMPLETE,
            params=genes,
            distributions=dict(choices),
            values=[candidate.numbers[objective.name] for objective in situation.objectives],
            # Genetic samplers read the generation from this attribute; without it, they would count trials.
            system_attrs={f'{self.name}:generation': candidate.generation}
            if candidate.stage == situation.stage
            else {},
        )

    def to_config(self) -> dict[str, Any]:
        """See :class:`Sampler`."""
        return {'type': 'OptunaSampler', 'name': self.name, 'options': dict(self.options)}


_GENETIC = (optuna.samplers.BaseGASampler,)


def _nearest(wanted: Any, options: Sequence[Value], values: Sequence[Value]) -> Value:
    place = values.index(wanted)
    return min(options, key=lambda option: abs(values.index(option) - place))
