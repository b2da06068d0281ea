"""The result of a search, and the files in which it is saved."""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmhybrid.search.candidate import Candidate, Leaders, ranked
from mmhybrid.search.errors import SearchError
from mmhybrid.search.pareto import Objective, front, hypervolume
from mmhybrid.search.racing import is_stopped
from mmhybrid.search.settings import SearchSettings
from mmhybrid.space.found import BEST_FILE
from mmhybrid.utils.checks import bad_value, check_int
from mmhybrid.utils.files import drop_link_outward, write_json, write_whole

TOP_FILE = 'topk.csv'
# If a search has one score, its front is drawn over the first of these costs that was estimated.
COSTS = ('latency_ms', 'macs_m')
# A cell that begins in this way is a formula to spreadsheets, also after blanks and in the wide signs of East Asian
# keyboards (OWASP, CSV injection).
FORMULA = re.compile(r'[\t\n]|\s*[=+\-@＝＋－＠]')  # noqa: RUF001
# A search that evaluates less than this share of its budget is said to have fallen short.
ENOUGH = 0.9


@dataclass(frozen=True)
class KnownNetwork:
    """A network with which those of a search are compared.

    Args:
        name: Name of the network, for instance of a preset.
        numbers: Costs by name, and scores if the search evaluated the network.
    """

    name: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class SearchResult:
    """The result of a search: its settings and its whole history.

    Args:
        settings: Settings of the search.
        history: All candidates in the order of the search, including those of stages that evaluate nothing.
        proposal_seconds: Seconds that this process took to propose them; None if unknown.
        shortages: Reasons why stages ended before their budgets.
        leaders: Best of the candidates for which :func:`is_ranked` holds, if they are kept; None to rank the history.
    """

    settings: SearchSettings
    history: tuple[Candidate, ...]
    proposal_seconds: float | None = field(default=None, compare=False)
    shortages: tuple[str, ...] = ()
    leaders: Leaders | None = field(default=None, compare=False, repr=False)

    @property
    def evaluated(self) -> list[Candidate]:
        """All evaluated candidates in the order of the search, including those that failed or were stopped early."""
        return [candidate for candidate in self.history if candidate.metrics is not None]

    @property
    def evaluation_hours(self) -> float:
        """Sum of the durations of all evaluations in hours, including earlier runs and other processes.

        These are GPU hours if each evaluation has one GPU.
        """
        return sum(candidate.seconds for candidate in self.history) / 3600

    @property
    def shortfall(self) -> str:
        """A message if far fewer networks were evaluated than the budget allows; empty if not."""
        evaluated, budget = len(self.evaluated), self.settings.budget
        if not self.shortages or evaluated >= ENOUGH * budget or evaluated >= self.settings.space.size():
            return ''
        return f'only {evaluated} of {budget} networks were found and evaluated: {"; ".join(self.shortages)}'

    def top(self, count: int | None = None) -> list[Candidate]:
        """Return the best candidates from best to worst; all of them without ``count``.

        These are evaluated candidates, without those that failed or were stopped early. With several objectives, the
        front comes first, ordered by the first objective. In a search that evaluates nothing, the candidates are those
        of the last stage.
        """
        if self.leaders is not None and count is not None:
            return self.leaders.first(count)
        counting = [candidate for candidate in self.history if is_ranked(candidate, self.settings)]
        return ranked(counting, *ranking_of(self.settings))[:count]

    @property
    def best(self) -> Candidate:
        """First candidate of :meth:`top`.

        Raises:
            SearchError: If every evaluation failed.
        """
        top = self.top(1)
        if not top:
            raise SearchError(f'no score is a finite number in any of {len(self.evaluated)} evaluations')
        return top[0]

    def front(self, objectives: Sequence[Objective] | None = None) -> list[Candidate]:
        """Return the Pareto front: the candidates that no other candidate dominates.

        Args:
            objectives: Objectives of the front, for instance :attr:`trade_off`; None for the objectives of the search.
        """
        counting, top = objectives or self.settings.objectives, self.top()
        return [top[i] for i in front([candidate.losses(counting) for candidate in top])]

    @property
    def trade_off(self) -> list[Objective]:
        """Objectives of the Pareto front of the search.

        To a single objective, this adds the latency, or the MACs if no latency was estimated.

        Raises:
            SearchError: If every evaluation failed.
        """
        objectives = list(self.settings.objectives)
        if len(objectives) > 1:
            return objectives
        known = self.best.estimates
        costs = [name for name in COSTS if name in known and name != objectives[0].name]
        return [*objectives, *(Objective(name, 'minimize') for name in costs[:1])]

    def best_within(self, bounds: Mapping[str, float]) -> Candidate:
        """Return the network with the best score that keeps upper bounds on its costs.

        Between networks of equal score, it is the cheaper one.

        Args:
            bounds: Largest allowed costs by the names of estimates, in their units.

        Raises:
            SearchError: If every evaluation failed.
            ValueError: If there is no such estimate, or no network keeps the bounds; the message then names the lowest
                costs.
        """
        top, objectives = self.top(), self.settings.objectives
        known = self.best.estimates
        for name in bounds:
            if name not in known:
                raise bad_value('bound', name, f'one of the estimates {sorted(known)}')
        kept = [c for c in top if all(c.estimates[name] <= most for name, most in bounds.items())]
        if not kept:
            wanted = ', '.join(f'{name} <= {most:g}' for name, most in bounds.items())
            least = ', '.join(f'{min(c.estimates[name] for c in top):.4g} for {name}' for name in bounds)
            alone = '' if len(bounds) == 1 else ', each by itself'
            raise ValueError(f'none of the {len(top)} networks keeps {wanted}; the least is {least}{alone}')
        scores = [objective for objective in objectives if objective.name not in known] or objectives
        ties = [Objective(name, 'minimize') for name in bounds if name != scores[0].name]
        return ranked(kept, scores[:1], ties)[0]

    def hypervolume(self, reference: Sequence[float]) -> float:
        """Return the hypervolume that the front dominates.

        Args:
            reference: Reference point, one value for each objective in the objective's own unit.

        Raises:
            ValueError: If there is not one value for each objective.
        """
        objectives = self.settings.objectives
        if len(reference) != len(objectives):
            raise bad_value('reference', list(reference), 'one number for each objective')
        corner = [objective.sign * value for objective, value in zip(objectives, reference, strict=True)]
        return hypervolume([candidate.losses(objectives) for candidate in self.front()], corner)

    def rejections(self) -> dict[str, int]:
        """Return the number of draws that each bound rejected; the key ``tries`` has the number of all draws."""
        counts = Counter(tries=sum(candidate.tries for candidate in self.history))
        for candidate in self.history:
            counts.update(candidate.rejected)
        return dict(counts)

    def write(self, folder: str | Path, count: int = 10) -> list[Path]:
        """Write ``best_arch.json`` and ``topk.csv``, each whole or not at all, and return their paths.

        Args:
            folder: Folder of the files; it is created if it does not exist.
            count: Number of rows of the table.

        Raises:
            SearchError: If every evaluation failed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        best, top = folder / BEST_FILE, folder / TOP_FILE
        for path in (best, top):
            drop_link_outward(path)
        write_json(best, self._described(self.best), indent=2)
        write_whole(top, table_of(self.top(check_int('count', count, 1))))
        return [best, top]

    def _described(self, candidate: Candidate) -> dict[str, Any]:
        return {
            'space': self.settings.space.to_config(),
            'arch': dict(candidate.arch),
            'metrics': dict(candidate.metrics or {}),
            'estimates': dict(candidate.estimates),
            'stage': candidate.stage,
            'generation': candidate.generation,
            'index': candidate.index,
            'search': {
                'evaluations': len(self.evaluated),
                'evaluation_hours': self.evaluation_hours,
                'proposal_hours': None if self.proposal_seconds is None else self.proposal_seconds / 3600,
            },
        }


def table_of(candidates: Sequence[Candidate], beside: Sequence[Mapping[str, object]] = ()) -> str:
    """Return networks as CSV with one row each: rank, scores and costs, stage, generation, index, and genes as JSON.

    Args:
        candidates: Networks in the order of the rows.
        beside: Further cells of each row by column name; empty if no row has any.
    """
    names = list(dict.fromkeys(name for candidate in candidates for name in candidate.numbers))
    more = list(dict.fromkeys(name for row in beside for name in row))
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(map(_cell, ['rank', *names, *more, 'stage', 'generation', 'index', 'arch']))
    for place, candidate in enumerate(candidates):
        numbers = [candidate.numbers.get(name, '') for name in names]
        others = [beside[place].get(name, '') for name in more]
        stage, *counts = candidate.key
        table.writerow(map(_cell, [place + 1, *numbers, *others, stage, *counts, candidate.arch.to_json()]))
    return text.getvalue()


def is_ranked(candidate: Candidate, settings: SearchSettings) -> bool:
    """Return whether a candidate is ranked in the result of a search.

    Candidates are ranked if they were evaluated and not stopped early. If no stage evaluates, those of the last stage
    are.
    """
    if not settings.budget:
        return candidate.stage == settings.stages[-1].name
    return candidate.metrics is not None and not is_stopped(candidate)


def ranking_of(settings: SearchSettings) -> tuple[Sequence[Objective], Sequence[Objective]]:
    """Return the objectives by which the result of a search is ranked, and its tie-breaks."""
    if settings.budget:
        return settings.objectives, settings.tie_breaks
    return settings.objectives_of(settings.stages[-1]), settings.tie_breaks_of(settings.stages[-1])


def _cell(content: object) -> object:
    """Return the content of a cell, with text changed so that spreadsheets do not take it for a formula."""
    if not isinstance(content, str):
        return content
    text = content.replace('\r', ' ')  # Python's writer leaves this end of a line as it is
    return f"'{text}" if FORMULA.match(text) else text
