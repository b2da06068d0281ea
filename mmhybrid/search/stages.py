"""The stages of a search, each of which has a part of the space, a sampler and a budget."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.errors import SearchError
from mmhybrid.search.pareto import Objective
from mmhybrid.search.samplers import Evolution, Sampler
from mmhybrid.search.skeletons import best_of_each_depth, stratified
from mmhybrid.space import Arch, SearchSpace, Value
from mmhybrid.utils.checks import bad_value, check_bool, check_class, check_int, check_list


@dataclass(frozen=True)
class Fix:
    """Genes that keep the values that an earlier stage found.

    Args:
        stage: Name of the earlier stage.
        genes: Patterns of gene names (``blocks.*.num_attn_heads``).
        rank: Rank of the network that gives the values: 0 for the best of the earlier stage, 1 for the second, ...

    Raises:
        ValueError: If an argument is wrong. The message names the field, its value and what is allowed.
    """

    stage: str
    genes: tuple[str, ...]
    rank: int = 0

    def __post_init__(self) -> None:
        check_list('fix.genes', self.genes)
        check_int('fix.rank', self.rank, 0)


@dataclass(frozen=True)
class Skeletons:
    """Start networks: the best of an earlier stage that differ in a depth or in the number of stages.

    Args:
        stage: Name of the earlier stage.
        count: Number of networks (K).
        stratify: Whether each number of stages, depth and resolution has the same share of the start networks as of all
            networks of the earlier stage (:func:`mmhybrid.search.skeletons.stratified`); otherwise the best networks
            are taken whatever they are.

    Raises:
        ValueError: If an argument is wrong. The message names the field, its value and what is allowed.
    """

    stage: str
    count: int = 10
    stratify: bool = True

    def __post_init__(self) -> None:
        check_int('skeletons.count', self.count, 1)
        check_bool('skeletons.stratify', self.stratify)


@dataclass(frozen=True)
class Stage:
    """One stage of a search.

    Args:
        name: Name under which its candidates are stored.
        sampler: Sampler that proposes networks.
        budget: Total number of candidates.
        population: Number of candidates per generation; a generation must be complete before the next one is proposed.
        restrict: Values that some genes keep, as in :meth:`SearchSpace.restrict`.
        space: Search space of the stage, for a part that ``restrict`` cannot express. Each of its networks must be in
            the search's space. None for the search's space.
        fix: Genes that keep the values that an earlier stage found.
        skeletons: Networks of an earlier stage to start from.
        start: Known networks to start from; they are the first candidates, and evolution goes on from them.
        rank_by: Estimate by which candidates are ranked without being evaluated; None to evaluate them.

    Raises:
        ValueError: If an argument is wrong. The message names the field, its value and what is allowed.
    """

    name: str = 'search'
    sampler: Sampler = field(default_factory=Evolution)
    budget: int = 1000
    population: int = 50
    restrict: Mapping[str, Value | Sequence[Value]] = field(default_factory=dict)
    space: SearchSpace | None = None
    fix: Fix | None = None
    skeletons: Skeletons | None = None
    start: Sequence[Mapping[str, Value]] = ()
    rank_by: Objective | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise bad_value('stage', self.name, 'a name')
        check_class(f'stage {self.name}.sampler', self.sampler, Sampler)
        kinds = {'space': SearchSpace, 'fix': Fix, 'skeletons': Skeletons, 'rank_by': Objective}
        for name, kind in kinds.items():
            if (value := getattr(self, name)) is not None:
                check_class(f'stage {self.name}.{name}', value, kind)
        check_int(f'stage {self.name}.budget', self.budget, 1)
        check_int(f'stage {self.name}.population', self.population, 1)
        if len(check_list(f'stage {self.name}.start', self.start)) > self.population:
            raise bad_value(
                f'stage {self.name}.start', f'{len(self.start)} networks', f'at most a population of {self.population}'
            )

    @property
    def sources(self) -> list[str]:
        """Names of the earlier stages on which this one builds."""
        return [link.stage for link in (self.fix, self.skeletons) if link is not None]

    def generations(self) -> Iterator[tuple[int, int]]:
        """Yield the index and the size of each generation; the last takes the rest of the budget."""
        for generation, start in enumerate(range(0, self.budget, self.population)):
            yield generation, min(self.population, self.budget - start)

    def narrow(self, space: SearchSpace, results: Mapping[str, Sequence[Candidate]]) -> SearchSpace:
        """Return the part of the search's space that this stage searches.

        Args:
            space: The search's space.
            results: Candidates of each earlier stage from best to worst.

        Raises:
            SearchError: If the stage on which this one builds found too few networks.
            ValueError: If a gene or value is not in the space.
        """
        own = space if self.space is None else self.space
        if self.restrict:
            own = own.restrict(self.restrict)
        if self.fix is None:
            return own
        found = results[self.fix.stage]
        if len(found) <= self.fix.rank:
            raise SearchError(
                f'stage {self.name!r} fixes genes of the network of rank {self.fix.rank} of stage {self.fix.stage!r}, '
                f'which ranked only {len(found)} candidates'
            )
        patterns, winner = self.fix.genes, found[self.fix.rank].arch
        fixed = {name: value for name, value in winner.items() if any(fnmatchcase(name, p) for p in patterns)}
        if not fixed:
            raise bad_value(f'stage {self.name}.fix.genes', list(patterns), f'a pattern of the genes {sorted(winner)}')
        return own.restrict(fixed)

    def starts(self, space: SearchSpace, results: Mapping[str, Sequence[Candidate]]) -> list[Arch]:
        """Return the start networks: the known ones, then the skeletons of the earlier stage.

        Args:
            space: The stage's space.
            results: Candidates of each earlier stage from best to worst.

        Raises:
            SearchError: If the earlier stage has none.
            ValueError: If a known network is not in the space.
        """
        known = []
        for place, genes in enumerate(self.start):
            try:
                known.append(space.canonical(genes))
            except ValueError as error:
                raise ValueError(f'stage {self.name}.start[{place}]: {error}') from error
        return list(dict.fromkeys(known + self._skeletons_of(space, results)))

    def _skeletons_of(self, space: SearchSpace, results: Mapping[str, Sequence[Candidate]]) -> list[Arch]:
        if self.skeletons is None:
            return []
        candidates = [c for c in results[self.skeletons.stage] if space.contains(c.arch)]
        if not candidates:
            raise SearchError(f'stage {self.name!r} finds no skeleton in stage {self.skeletons.stage!r}')
        if self.skeletons.stratify:
            return stratified(candidates, space, self.skeletons.count)
        return best_of_each_depth(candidates, space)[: self.skeletons.count]

    def to_config(self) -> dict[str, Any]:
        """Return the stage as plain JSON."""
        return {
            'name': self.name,
            'sampler': self.sampler.to_config(),
            'budget': self.budget,
            'population': self.population,
            'restrict': dict(self.restrict),
            'space': self.space.to_config() if self.space else None,
            'fix': asdict(self.fix) if self.fix else None,
            'skeletons': asdict(self.skeletons) if self.skeletons else None,
            'start': [dict(genes) for genes in self.start],
            'rank_by': asdict(self.rank_by) if self.rank_by else None,
        }
