"""Progress of long work, with an estimate of the remaining time."""

import time
from collections.abc import Callable
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text
from typing_extensions import Self

# Seconds between two lines if the output is not a terminal.
SECONDS_OF_LINE = 60.0


class Steps:
    """Shows the progress of each kind of step: bars on a terminal, one line a minute in a log.

    The remaining time is extrapolated from the steps since the start, from the first step on.

    Args:
        console: Console on which it is shown.
    """

    def __init__(self, console: Console | None = None) -> None:
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), _Remaining())
        self._progress = Progress(*columns, console=console)
        self._said = float('-inf')

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, name: str, total: int, done: int = 0) -> Callable[[], None]:
        """Show a new kind of step, and return a function that is called after each step.

        Args:
            name: Name of the steps.
            total: Number of steps in all.
            done: Number of steps that an earlier process did, whose duration is not known.
        """
        number = self._progress.add_task(name, total=total, completed=done, before=done)

        def step() -> None:
            self._progress.advance(number)
            if self._progress.console.is_terminal:
                return
            (task,) = (task for task in self._progress.tasks if task.id == number)
            now = time.monotonic()
            if now - self._said >= SECONDS_OF_LINE:
                self._said = now
                self._progress.console.print(f'{name}: {task.completed:g} of {total}, {_rest(task)} left')

        return step


class _Remaining(ProgressColumn):
    """The remaining time.

    Rich's own column shows nothing before the second step, and then averages over half a minute only.
    """

    def render(self, task: Task) -> Text:
        return Text(_rest(task))


def _rest(task: Task) -> str:
    """Return the remaining time as text."""
    done = task.completed - task.fields['before']
    if task.total is None or task.elapsed is None or not done:
        return '-:--:--'
    return str(timedelta(seconds=round(task.elapsed / done * (task.total - task.completed))))
