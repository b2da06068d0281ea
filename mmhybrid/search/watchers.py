"""Watchers, which receive the progress of a search, and the log as one of them."""

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
    """The progress of a search.

    Args:
        done: Number of evaluations so far, including those of earlier runs.
        budget: Total number of evaluations; a search may end before.
        best: Best candidate by the first objective, then by the next ones; None while all have failed.
    """

    done: int
    budget: int
    best: Candidate | None


class Watcher(Protocol):
    """A receiver of the events of a search, on rank 0."""

    def on_candidate(self, candidate: Candidate, progress: Progress) -> None:
        """Receive a candidate that was evaluated and stored."""

    def on_message(self, text: str) -> None:
        """Receive a message, for instance that a stage ends early or a candidate failed, and why."""


class LogWatcher:
    """A watcher that logs one line per candidate, with a progress bar and the remaining time, in columns.

    Args:
        settings: Settings of the search.
        logger: Logger of the lines.
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
