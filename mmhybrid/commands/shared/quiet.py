"""Runs commands one after the other, each in its own process; prints a short summary, and writes the rest to logs."""

import multiprocessing
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TextIO

import torch
from rich.console import Console

from mmhybrid.latency.steps import Steps
from mmhybrid.utils.errors import printable
from mmhybrid.utils.files import open_own

# Works as python -m does, except for the current folder: modules are imported from where this process finds them.
PROGRAM = 'import sys; sys.path[:] = {!r}; from mmhybrid.__main__ import main; main()'
LAST_LINES = 20  # number of lines that are shown of a failed command's log
SECONDS = 0.2  # polling interval of a log
# Function that parses (number of steps done, total number of steps) from a line of a log, or returns None if the line
# does not contain them.
Progress = Callable[[str], tuple[int, int] | None]


def can_fork() -> bool:
    """Return whether commands may be forks of this process, which saves each the import of torch and OpenMMLab.

    CUDA does not work in forks of a process that has initialised it, and forks are not reliable on macOS.
    """
    return sys.platform == 'linux' and not torch.cuda.is_available()


def iterations(epochs: int) -> Progress:
    """Return a function that parses iterations from a line of the log of a training with ``epochs`` epochs."""
    line = re.compile(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]')

    def progress(text: str) -> tuple[int, int] | None:
        if (found := line.search(text)) is None:
            return None
        epoch, done, length = map(int, found.groups())
        return (epoch - 1) * length + done, epochs * length

    return progress


def candidates(text: str) -> tuple[int, int] | None:
    """Parse the numbers of evaluated and of all candidates from a line of the log of a search."""
    found = re.search(r' (\d+)/(\d+) +eta ', text)
    return None if found is None else (int(found[1]), int(found[2]))


class QuietCommands:
    """Runs commands of mmhybrid, and prints the purpose, progress, duration and result of each.

    Args:
        logs: Folder of the commands' outputs.
        total: Number of commands.
        imported: Modules that most commands need. They are imported while the first command runs, so that later forks
            have them at once.
        console: Console on which the summary is printed.
    """

    def __init__(self, logs: Path, total: int, imported: Sequence[str], console: Console | None = None) -> None:
        self._logs = logs
        self._total = total
        self._imported = imported if can_fork() else ()
        self._console = console or Console(soft_wrap=True, highlight=False)
        self._number = 0
        logs.mkdir(parents=True, exist_ok=True)

    def run(
        self, purpose: str, *command: str, of: str = 'step', progress: Progress | None = None, metric: str | None = None
    ) -> None:
        """Run a command; if it fails, show the end of its log, and end this process with its exit code.

        Args:
            purpose: Purpose of the command, which is printed.
            command: Name and arguments of the command.
            of: Unit of the progress, such as an iteration.
            progress: Function that parses the progress from a line of the log.
            metric: Name of a logged metric that is printed at the end.
        """
        self._number += 1
        log = self._logs / f'{self._number}_{command[0]}.log'
        self._console.print(f'[{self._number}/{self._total}] {purpose}', markup=False)
        began = time.monotonic()
        with open_own(log) as file:
            running = _start(command, file)
        try:
            self._import()
            code = self._follow(log, running, of, progress)
        except BaseException:
            running.terminate()
            running.wait(None)
            raise
        told = f'{time.monotonic() - began:.0f} s, '
        text = log.read_text(errors='replace')
        if metric is not None and (found := re.findall(rf'{re.escape(metric)}:\s+([-\d.]+)', text)):
            told += f'{metric} {float(found[-1]):g}, '
        self._console.print(f'      {told}log: {log}', markup=False)
        if code:
            self._fail(code, command, log)

    def _import(self) -> None:
        with open_own(self._logs / 'imports.log') as log, _output_into(log):
            for name in self._imported:
                with suppress(ImportError):  # the command that needs it will report it
                    import_module(name)
        self._imported = ()

    def _follow(self, log: Path, running: '_Running', of: str, progress: Progress | None) -> int:
        """Show the progress of a command until it ends, and return its exit code."""
        code, done, total, step = None, 0, 1, None
        with ExitStack() as stack, log.open(errors='replace') as lines:

            def begin(total: int, done: int) -> Callable[[], None]:
                return stack.enter_context(Steps(self._console)).begin(of, total, done)

            if progress is None and self._console.is_terminal:
                step = begin(total, done)
            while code is None:
                # wait before reading, so that the end of the log is read once the command has ended
                code = running.wait(SECONDS)
                found = [] if progress is None else [place for place in map(progress, lines) if place is not None]
                if code == 0 and step is not None:
                    found.append((total, total))
                for now, total in found[-1:]:
                    # the time so far includes the start of the process, so it does not predict the rest
                    if step is None:
                        step, done = begin(total, now), now
                    for _ in range(now - done):
                        step()
                    done = now
        return code

    def _fail(self, code: int, command: Sequence[str], log: Path) -> None:
        self._console.print(f'mmhybrid {command[0]} ended with exit code {code}; the last lines of its log:')
        for line in log.read_text(errors='replace').splitlines()[-LAST_LINES:]:
            self._console.print(f'  {printable(line)}', markup=False)
        sys.exit(code if code > 0 else 128 - code)  # the exit code of shells for a signal


@dataclass(frozen=True)
class _Running:
    """A command in a process of its own.

    Args:
        wait: Function that waits for the end, for at most the given seconds, and returns the exit code, or None if the
            command still runs.
        terminate: Function that ends the command.
    """

    wait: Callable[[float | None], int | None]
    terminate: Callable[[], None]


def _start(command: Sequence[str], log: TextIO) -> _Running:
    """Start a command that writes into ``log``."""
    if can_fork():
        process = multiprocessing.get_context('fork').Process(target=_work, args=(list(command), log.fileno()))
        # The warning is about threads that NumPy started, which hold no lock that commands need.
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)
            process.start()

        def wait(seconds: float | None) -> int | None:
            process.join(seconds)
            return process.exitcode

        return _Running(wait, process.terminate)
    words = [sys.executable, '-W', 'ignore', '-c', PROGRAM.format(sys.path), *command]
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def wait_for_child(seconds: float | None) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(seconds)
        return None

    return _Running(wait_for_child, child.terminate)


def _work(command: list[str], log: int) -> None:
    """Run a command in this forked process as if it had been started on its own."""
    for number in (1, 2):
        os.dup2(log, number)
    sys.stdout, sys.stderr = (os.fdopen(number, 'w', buffering=1, closefd=False) for number in (1, 2))
    warnings.simplefilter('ignore')
    import_module('mmhybrid.__main__').main(command)


@contextmanager
def _output_into(log: TextIO) -> Iterator[None]:
    """Redirect stdout and stderr into a file inside the context.

    The file descriptors are redirected, not ``sys.stdout``, since logging handlers that are created inside keep that.
    """
    streams = (sys.stdout, sys.stderr)
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number, stream in enumerate(streams, 1):
            stream.flush()
            os.dup2(log.fileno(), number)
        yield
    finally:
        for number, (stream, descriptor) in enumerate(zip(streams, kept, strict=True), 1):
            stream.flush()
            os.dup2(descriptor, number)
            os.close(descriptor)
