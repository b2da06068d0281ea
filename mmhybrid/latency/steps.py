"""How far long work is, and how long the rest of it takes."""

import time
from collections.abc import Callable
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text
from typing_extensions import Self

# Between two lines of what is no terminal.
SECONDS_OF_LINE = 60.0


class Steps:
    """Shows what is done of each kind of step: bars on a terminal, a line a minute in a log.

    The rest takes as long as what was done since the start, which the first step tells already.

    Args:
        console: Where it is shown.
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
        """Show a new kind of step; what is returned is called after each.

        Args:
            name: What is done.
            total: Steps in all.
            done: By an earlier process, whose time is not known.
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
    """Rich's own says nothing before the second step, and then only of the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(_rest(task))


def _rest(task: Task) -> str:
    """How long the rest of some steps takes."""
    done = task.completed - task.fields['before']
    if task.total is None or task.elapsed is None or not done:
        return '-:--:--'
    return str(timedelta(seconds=round(task.elapsed / done * (task.total - task.completed))))
