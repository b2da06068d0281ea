"""A candidate of a search, from its proposal to its scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real

from typing_extensions import Self

from mmhybrid.search.pareto import GrowingRanking, Objective, ranking
from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Candidate:
    """An architecture that a search proposed because it keeps the constraints.

    Args:
        stage: Name of the stage that proposed it.
        generation: Index of its generation in the stage, from 0.
        index: Index of the candidate in the generation, from 0.
        arch: The architecture.
        estimates: Costs by name.
        metrics: Scores of the evaluation by name; None before the evaluation, and in stages that evaluate nothing.
        tries: Number of draws until it was found.
        rejected: Number of these draws that each constraint rejected or that gave a known network, by reason.
        failure: Error that its evaluation raised; empty if it raised none.
        seconds: Duration of its evaluation in seconds; the search does not depend on it, and it is not compared.
    """

    stage: str
    generation: int
    index: int
    arch: Arch
    estimates: Mapping[str, float]
    metrics: Mapping[str, float] | None = None
    tries: int = 1
    rejected: Mapping[str, int] = field(default_factory=dict)
    failure: str = ''
    seconds: float = field(default=0.0, compare=False, repr=False)

    @property
    def key(self) -> Key:
        """Stage, generation and index, which are the same in every run with the same settings."""
        return self.stage, self.generation, self.index

    @property
    def numbers(self) -> dict[str, float]:
        """Estimates and metrics together, which are all numbers that an objective may name."""
        return {**self.estimates, **(self.metrics or {})}

    def evaluated(self, metrics: Mapping[str, float]) -> Self:
        """Return this candidate with its scores.

        Raises:
            ValueError: If a metric is not a number or has the name of an estimate.
        """
        for name, value in metrics.items():
            if isinstance(value, bool) or not isinstance(value, Real):
                raise bad_value(f'metric {name}', value, 'a number')
            if name in self.estimates:
                raise bad_value('metric', name, 'a name that no estimate has')
        return replace(self, metrics={name: float(value) for name, value in metrics.items()})

    def failed(self, failure: str, objectives: Sequence[Objective]) -> Self:
        """Return this candidate without scores, because its evaluation raised an error."""
        missing = [objective.name for objective in objectives if objective.name not in self.estimates]
        return replace(self.evaluated(dict.fromkeys(missing, math.nan)), failure=failure)

    def losses(self, objectives: Sequence[Objective]) -> tuple[float, ...]:
        """Return the values of the objectives with such signs that smaller is better.

        Raises:
            ValueError: If an objective names neither an estimate nor a metric.
        """
        metrics = self.metrics or {}
        found = []
        for objective in objectives:
            value = metrics.get(objective.name, self.estimates.get(objective.name))
            if value is None:
                raise bad_value('objective', objective.name, f'one of {sorted(self.numbers)}')
            found.append(objective.sign * value)
        return tuple(found)

    def has_failed(self, objectives: Sequence[Objective]) -> bool:
        """Return whether the evaluation raised an error or an objective is not finite; if so, it is not ranked."""
        return bool(self.failure) or not all(math.isfinite(loss) for loss in self.losses(objectives))


def ranked(
    candidates: Sequence[Candidate], objectives: Sequence[Objective], tie_breaks: Sequence[Objective] = ()
) -> list[Candidate]:
    """Return the candidates from best to worst, without those that failed.

    ``tie_breaks`` decide between candidates that are equal in the objectives; other equal candidates keep their order.
    """
    rows = [(candidate, candidate.losses(objectives)) for candidate in candidates if not candidate.failure]
    sound = [(candidate, losses) for candidate, losses in rows if all(map(math.isfinite, losses))]
    sound.sort(key=lambda row: _decisive(row[0], tie_breaks))
    return [sound[i][0] for i in ranking([losses for _, losses in sound])]


class Leaders:
    """The best of a growing number of candidates, in the order of :func:`ranked`.

    The cost of adding a candidate does not grow with their number.

    Args:
        objectives: Objectives by which candidates are ranked.
        tie_breaks: Objectives that decide between equal candidates.
    """

    def __init__(self, objectives: Sequence[Objective], tie_breaks: Sequence[Objective] = ()) -> None:
        self._objectives = objectives
        self._tie_breaks = tie_breaks
        self._ranking: GrowingRanking[Candidate] = GrowingRanking()

    def add(self, candidate: Candidate, place: object) -> None:
        """Add a candidate to the ranking, unless it failed.

        Args:
            candidate: The candidate.
            place: Sort key that decides between candidates that are still equal; no two candidates have the same.
        """
        if not candidate.has_failed(self._objectives):
            decisive = (_decisive(candidate, self._tie_breaks), place)
            self._ranking.add(candidate.losses(self._objectives), decisive, candidate)

    def first(self, count: int) -> list[Candidate]:
        """Return the ``count`` best candidates, from best to worst."""
        return self._ranking.first(count)


def _decisive(candidate: Candidate, tie_breaks: Sequence[Objective]) -> tuple[float, ...]:
    """Return the losses of the tie-breaks, with infinity in place of NaN, which cannot be sorted."""
    return tuple(math.inf if math.isnan(loss) else loss for loss in candidate.losses(tie_breaks))
