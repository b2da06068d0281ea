"""One network of a search, from its proposal to its scores."""

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
    """An arch that passed the constraints.

    Args:
        stage: Name of the stage that proposed it.
        generation: Counted from 0 in each stage.
        index: Place in the generation.
        arch: The network.
        estimates: What it costs.
        metrics: What the evaluation found; None before it, and where nothing is evaluated.
        tries: Draws it took to find it.
        rejected: How many of those each constraint rejected, and how many were known already.
        failure: What its evaluation raised; empty if it ended.
        seconds: How long its evaluation took; of no consequence for anything, and not compared.
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
        """Stage, generation and index: the same in every run with the same settings."""
        return self.stage, self.generation, self.index

    @property
    def numbers(self) -> dict[str, float]:
        """Estimates and metrics together: what an objective may name."""
        return {**self.estimates, **(self.metrics or {})}

    def evaluated(self, metrics: Mapping[str, float]) -> Self:
        """This candidate with its scores.

        Raises:
            ValueError: If a metric is no number or has the name of an estimate.
        """
        for name, value in metrics.items():
            if isinstance(value, bool) or not isinstance(value, Real):
                raise bad_value(f'metric {name}', value, 'a number')
            if name in self.estimates:
                raise bad_value('metric', name, 'a name that no estimate has')
        return replace(self, metrics={name: float(value) for name, value in metrics.items()})

    def failed(self, failure: str, objectives: Sequence[Objective]) -> Self:
        """This candidate without scores, since its evaluation raised an error."""
        missing = [objective.name for objective in objectives if objective.name not in self.estimates]
        return replace(self.evaluated(dict.fromkeys(missing, math.nan)), failure=failure)

    def losses(self, objectives: Sequence[Objective]) -> tuple[float, ...]:
        """The values of the objectives, signed so that less is better.

        Raises:
            ValueError: If an objective names no estimate and no metric.
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
        """Whether its evaluation raised, or a value of the objectives is infinite or not a number; it is not ranked."""
        return bool(self.failure) or not all(math.isfinite(loss) for loss in self.losses(objectives))


def ranked(
    candidates: Sequence[Candidate], objectives: Sequence[Objective], tie_breaks: Sequence[Objective] = ()
) -> list[Candidate]:
    """From best to worst, without those that failed; ``tie_breaks`` decide among equals, which else stay in order."""
    rows = [(candidate, candidate.losses(objectives)) for candidate in candidates if not candidate.failure]
    sound = [(candidate, losses) for candidate, losses in rows if all(map(math.isfinite, losses))]
    sound.sort(key=lambda row: _decisive(row[0], tie_breaks))
    return [sound[i][0] for i in ranking([losses for _, losses in sound])]


class Leaders:
    """The best of candidates that become more, as :func:`ranked` has them, at a cost that does not grow with them.

    Args:
        objectives: What they are ranked by.
        tie_breaks: What decides among equals.
    """

    def __init__(self, objectives: Sequence[Objective], tie_breaks: Sequence[Objective] = ()) -> None:
        self._objectives = objectives
        self._tie_breaks = tie_breaks
        self._ranking: GrowingRanking[Candidate] = GrowingRanking()

    def add(self, candidate: Candidate, place: object) -> None:
        """Rank a candidate too, unless it failed.

        Args:
            candidate: The candidate.
            place: What sorts it among all others, which decides last.
        """
        if not candidate.has_failed(self._objectives):
            decisive = (_decisive(candidate, self._tie_breaks), place)
            self._ranking.add(candidate.losses(self._objectives), decisive, candidate)

    def first(self, count: int) -> list[Candidate]:
        """The best, from best to worst."""
        return self._ranking.first(count)


def _decisive(candidate: Candidate, tie_breaks: Sequence[Objective]) -> tuple[float, ...]:
    """The losses that decide among equals; what is not a number, which nothing sorts, is worst."""
    return tuple(math.inf if math.isnan(loss) else loss for loss in candidate.losses(tie_breaks))
