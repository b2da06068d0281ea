"""The settings of a search: a search space, the stages that search it, objectives and constraints."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmhybrid.search.candidate import Candidate, ranked
from mmhybrid.search.constraints import Constraint
from mmhybrid.search.pareto import Objective
from mmhybrid.search.racing import Racing
from mmhybrid.search.stages import Stage
from mmhybrid.space import SearchSpace
from mmhybrid.utils.checks import bad_value, check_all, check_class, check_int
from mmhybrid.utils.files import first_difference, plain


@dataclass(frozen=True)
class SearchSettings:
    """All settings that decide which networks a search proposes, apart from their costs and scores.

    Args:
        space: Search space.
        stages: Stages in order.
        objectives: One or several objectives, which name metrics or estimates.
        constraints: Constraints on estimates, for all stages.
        tie_breaks: Objectives that decide between networks of equal objectives, in stages that evaluate.
        racing: Rule by which evaluations stop early; None to evaluate all candidates on all images.
        seed: Seed of all random numbers.
        max_tries: Number of draws per candidate, on average over a stage, after which the stage ends because it finds
            no new networks that keep the constraints.

    Raises:
        ValueError: If an argument is wrong. The message names the field, its value and what is allowed.
    """

    space: SearchSpace
    stages: Sequence[Stage]
    objectives: Sequence[Objective]
    constraints: Sequence[Constraint] = ()
    seed: int = 0
    max_tries: int = 1000
    tie_breaks: Sequence[Objective] = ()
    racing: Racing | None = None

    def __post_init__(self) -> None:
        check_class('space', self.space, SearchSpace)
        check_all('constraints', self.constraints, Constraint)
        names = [stage.name for stage in check_all('stages', self.stages, Stage)]
        if not names or len(set(names)) < len(names):
            raise bad_value('stages', names, 'at least one, with names that differ')
        for place, stage in enumerate(self.stages):
            for source in stage.sources:
                if source not in names[:place]:
                    raise bad_value(f'stage {stage.name}', source, f'an earlier stage, one of {names[:place]}')
        objectives = [objective.name for objective in check_all('objectives', self.objectives, Objective)]
        if not objectives or len(set(objectives)) < len(objectives):
            raise bad_value('objectives', objectives, 'at least one, with names that differ')
        breaks = [objective.name for objective in check_all('tie_breaks', self.tie_breaks, Objective)]
        if len({*objectives, *breaks}) < len(objectives) + len(breaks):
            allowed = f'names that differ from each other and from the objectives {objectives}'
            raise bad_value('tie_breaks', breaks, allowed)
        if self.racing is not None:
            check_class('racing', self.racing, Racing)
            if Objective(self.racing.metric) not in self.objectives:
                raise bad_value('racing.metric', self.racing.metric, f'an objective to maximize, among {objectives}')
        check_int('seed', self.seed, 0)
        check_int('max_tries', self.max_tries, 1)

    @property
    def budget(self) -> int:
        """Total number of evaluations."""
        return sum(stage.budget for stage in self.stages if stage.rank_by is None)

    def objectives_of(self, stage: Stage) -> Sequence[Objective]:
        """Return the objectives by which the candidates of a stage are ranked."""
        return self.objectives if stage.rank_by is None else (stage.rank_by,)

    def tie_breaks_of(self, stage: Stage) -> Sequence[Objective]:
        """Return the objectives that decide between equal candidates of a stage."""
        return self.tie_breaks if stage.rank_by is None else ()

    def results(self, history: Sequence[Candidate]) -> dict[str, list[Candidate]]:
        """Return the candidates of each stage from best to worst."""
        return {
            stage.name: ranked(
                [c for c in history if c.stage == stage.name], self.objectives_of(stage), self.tie_breaks_of(stage)
            )
            for stage in self.stages
        }

    def why_not_continued(self, stored: Mapping[str, Any], finished: Mapping[str, int]) -> str:
        """Return the reason why this search cannot continue another one that stopped; empty if it can.

        Settings on which the finished candidates do not depend may differ. The last stage that has finished candidates
        may have a larger budget, ``max_tries`` may be larger, and all later stages may differ.

        Args:
            stored: Result of :meth:`to_config` for the other search.
            finished: Number of evaluated candidates of each stage.
        """
        now, names = self.to_config(), [stage['name'] for stage in stored['stages']]
        last = max((place for place, name in enumerate(names) if finished.get(name)), default=len(names) - 1)

        def compared(config: Mapping[str, Any]) -> dict[str, Any]:
            begun = [dict(stage) for stage in config['stages'][: last + 1]]
            begun[-1].pop('budget')
            return {**config, 'stages': begun, 'max_tries': None}

        if difference := first_difference(compared(stored), compared(now)):
            return difference
        ended = [
            name
            for name, stage in zip(names[:last], stored['stages'], strict=False)
            if stage['rank_by'] is None and finished.get(name, 0) < stage['budget']
        ]
        grown = {
            f'stages[{last}].budget': (stored['stages'][last]['budget'], now['stages'][last]['budget']),
            'max_tries': (stored['max_tries'], now['max_tries']),
        }
        for name, (before, after) in grown.items():
            if after < before:
                return f'{name} was {before}, now {after}: it may only grow'
        if ended and now['max_tries'] != stored['max_tries']:
            return (
                f'max_tries was {stored["max_tries"]}, now {now["max_tries"]}: stage {ended[0]!r} ended by it, '
                'and later stages built on that'
            )
        return ''

    def to_config(self) -> dict[str, Any]:
        """Return the settings as plain JSON, which stays equal when it is written as text and read again."""
        config: dict[str, Any] = plain(
            {
                'space': self.space.to_config(),
                'stages': [stage.to_config() for stage in self.stages],
                'objectives': [asdict(objective) for objective in self.objectives],
                'constraints': [asdict(constraint) for constraint in self.constraints],
                'seed': self.seed,
                'max_tries': self.max_tries,
                # The field is left out if there are no tie-breaks, so that searches from before it existed can go on.
                **({'tie_breaks': [asdict(objective) for objective in self.tie_breaks]} if self.tie_breaks else {}),
                **({'racing': asdict(self.racing)} if self.racing else {}),
            }
        )
        return config
