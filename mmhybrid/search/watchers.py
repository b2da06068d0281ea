"""Who watches a search, and the log as one of them."""

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.settings import SearchSettings

BAR_WIDTH = 12


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Args:
        done: Evaluations, those of earlier runs too.
        budget: Evaluations in all; a search may end before.
        best: By the first objective, ties by the next; None while all failed.
    """

    done: int
    budget: int
    best: Candidate | None


class Watcher(Protocol):
    """Who wants to know, on rank 0."""

    def on_candidate(self, candidate: Candidate, progress: Progress) -> None:
        """A candidate is evaluated and stored."""

    def on_message(self, text: str) -> None:
        """A stage ends early, a candidate failed, others are waited for; and why."""


class LogWatcher:
    """One line a candidate, with a progress bar and the time that is left, in columns.

    Args:
        settings: Of the search.
        logger: Where to.
    """

    def __init__(self, settings: SearchSettings, logger: logging.Logger) -> None:
        self._objectives = settings.objectives
        self._costs = list(dict.fromkeys(constraint.name for constraint in settings.constraints))
        self._logger = logger
        self._began = time.monotonic()
        self._here = 0

    def on_candidate(self, candidate: Candidate, progress: Progress) -> None:
        """See :class:`Watcher`."""
        first = self._objectives[0].name
        best = 'none' if progress.best is None else f'{progress.best.numbers[first]:.4g}'
        names = list(dict.fromkeys([*(objective.name for objective in self._objectives), *self._costs]))
        self._here += 1
        left = (time.monotonic() - self._began) / self._here * (progress.budget - progress.done)
        full = BAR_WIDTH * progress.done // progress.budget
        columns = [
            f'{"█" * full:░<{BAR_WIDTH}} {progress.done:>{len(str(progress.budget))}}/{progress.budget}',
            f'eta {timedelta(seconds=round(left))}',
            f'{candidate.stage} {candidate.generation:>2}.{candidate.index:<3}',
            *(f'{name} {candidate.numbers[name]:>8.4g}' for name in names),
            f'best {best:>8}',
            f'tries {candidate.tries}',
        ]
        self._logger.info('  '.join(columns))

    def on_message(self, text: str) -> None:
        """See :class:`Watcher`."""
        self._logger.info(text)
