"""What a search found, and the files it leaves."""

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
COSTS = ('latency_ms', 'macs_m')  # what one score alone is weighed against, the first that was estimated
# How one begins, also behind blanks and in the wide signs of East Asian keyboards (OWASP, CSV injection).
FORMULA = re.compile(r'[\t\n]|\s*[=+\-@＝＋－＠]')  # noqa: RUF001
# Share of its budget below which a search is said to have fallen short.
ENOUGH = 0.9


@dataclass(frozen=True)
class KnownNetwork:
    """A network that those of a search are seen beside.

    Args:
        name: Of a preset, say.
        numbers: Its costs, and its scores where the search evaluated it, by name.
    """

    name: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class SearchResult:
    """The whole history of a search.

    Args:
        settings: Of the search.
        history: All candidates in the order of the search, those of stages that evaluate nothing too.
        proposal_seconds: How long this process took to propose them; None where that is not known.
        shortages: Why stages ended before their budgets.
        leaders: The best of all that :func:`is_ranked`, where they are kept; None to rank the history.
    """

    settings: SearchSettings
    history: tuple[Candidate, ...]
    proposal_seconds: float | None = field(default=None, compare=False)
    shortages: tuple[str, ...] = ()
    leaders: Leaders | None = field(default=None, compare=False, repr=False)

    @property
    def evaluated(self) -> list[Candidate]:
        """All candidates in the order of the search, those that failed too."""
        return [candidate for candidate in self.history if candidate.metrics is not None]

    @property
    def evaluation_hours(self) -> float:
        """Hours of all evaluations, of earlier runs and other processes too; with a GPU for each, GPU hours."""
        return sum(candidate.seconds for candidate in self.history) / 3600

    @property
    def shortfall(self) -> str:
        """What to tell of a search that found far fewer networks than it was to evaluate; empty if it did not."""
        evaluated, budget = len(self.evaluated), self.settings.budget
        if not self.shortages or evaluated >= ENOUGH * budget or evaluated >= self.settings.space.size():
            return ''
        return f'only {evaluated} of {budget} networks were found and evaluated: {"; ".join(self.shortages)}'

    def top(self, count: int | None = None) -> list[Candidate]:
        """The best of all that was evaluated, from best to worst; all without ``count``.

        With several objectives the front comes first, ordered by the first objective. Of a search that evaluates
        nothing it is the best of the last stage.
        """
        if self.leaders is not None and count is not None:
            return self.leaders.first(count)
        counting = [candidate for candidate in self.history if is_ranked(candidate, self.settings)]
        return ranked(counting, *ranking_of(self.settings))[:count]

    @property
    def best(self) -> Candidate:
        """The first of :meth:`top`.

        Raises:
            SearchError: If every evaluation failed.
        """
        top = self.top(1)
        if not top:
            raise SearchError(f'no score is a finite number in any of {len(self.evaluated)} evaluations')
        return top[0]

    def front(self, objectives: Sequence[Objective] | None = None) -> list[Candidate]:
        """The candidates that none is better than in one objective and at least as good in the others.

        Args:
            objectives: What counts, :attr:`trade_off` for instance; None for the objectives of the search.
        """
        counting, top = objectives or self.settings.objectives, self.top()
        return [top[i] for i in front([candidate.losses(counting) for candidate in top])]

    @property
    def trade_off(self) -> list[Objective]:
        """The objectives; of a search with one it is that against the latency, or the MACs where it estimated none.

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
        """The network with the best score of those that cost no more; among equals the one that costs less.

        Args:
            bounds: The most that it may cost, by the names of estimates.

        Raises:
            SearchError: If every evaluation failed.
            ValueError: If there is no such estimate, or no network keeps the bounds; then it names the least.
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
        """What the front dominates, down to ``reference``, a value for each objective in its own unit.

        Raises:
            ValueError: If there is not one value for each objective.
        """
        objectives = self.settings.objectives
        if len(reference) != len(objectives):
            raise bad_value('reference', list(reference), 'one number for each objective')
        corner = [objective.sign * value for objective, value in zip(objectives, reference, strict=True)]
        return hypervolume([candidate.losses(objectives) for candidate in self.front()], corner)

    def rejections(self) -> dict[str, int]:
        """How many draws each bound rejected; ``tries`` is all draws."""
        counts = Counter(tries=sum(candidate.tries for candidate in self.history))
        for candidate in self.history:
            counts.update(candidate.rejected)
        return dict(counts)

    def write(self, folder: str | Path, count: int = 10) -> list[Path]:
        """Write ``best_arch.json`` and ``topk.csv``; each appears complete or not at all.

        Args:
            folder: Made if missing.
            count: Rows of the table.

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
    """Networks as CSV, a row each: rank, scores and costs, place in the search, genes as JSON.

    Args:
        candidates: From the first row to the last.
        beside: Of each row, what else stands in it, by the names of columns; nothing for all rows.
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
    """Whether a candidate is one of those that a search is for."""
    if not settings.budget:
        return candidate.stage == settings.stages[-1].name
    return candidate.metrics is not None and not is_stopped(candidate)


def ranking_of(settings: SearchSettings) -> tuple[Sequence[Objective], Sequence[Objective]]:
    """What those are ranked by, and what decides among equals."""
    if settings.budget:
        return settings.objectives, settings.tie_breaks
    return settings.objectives_of(settings.stages[-1]), settings.tie_breaks_of(settings.stages[-1])


def _cell(content: object) -> object:
    """The content of a cell; text such that spreadsheets take it for text, not for a formula."""
    if not isinstance(content, str):
        return content
    text = content.replace('\r', ' ')  # which Python's writer leaves as the end of a line
    return f"'{text}" if FORMULA.match(text) else text
