"""Tables of a machine that programs of this one reach: a bundle is copied there, run, and what it measured fetched."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.bundle import (
    LARGEST,
    NETWORKS,
    SCRIPT,
    digest_of,
    files_of,
    remove_bundle,
    table_of_timings,
    write_bundle,
)
from mmhybrid.latency.devices import Device
from mmhybrid.latency.on_device import LONGEST_PAUSE, MANIFEST, TIMINGS
from mmhybrid.latency.steps import Steps
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan
from mmhybrid.utils.checks import bad_value, check_float
from mmhybrid.utils.errors import CannotGoOnError, printable
from mmhybrid.utils.files import check_target, is_special, parse_json
from mmhybrid.utils.optional import MissingPackageError

# What names of machines and of programs there are made of: nothing that a shell or a program takes for something else.
SSH = re.compile(r'(?P<host>(\w[\w.-]*@)?\w[\w.-]*)(:(?P<port>\d{1,5}))?', re.ASCII)
ADB = re.compile(r'adb(:(?P<serial>\w[\w.:-]*))?', re.ASCII)
PROGRAM = re.compile(r'[\w./][\w./+-]*', re.ASCII)
# Files that are copied at once: an interrupted copy loses these.
AT_ONCE = 16
# Bytes of a line, and of what a program says last.
LONGEST_LINE = 2000


@dataclass(frozen=True)
class Remote:
    """How a machine is reached.

    Args:
        name: As the user calls it.
        shell: The program that has a command line run there, with its arguments before that.
        copy: The program that copies files there, with its arguments before them.
        prefix: What stands before a folder there, where files are copied to it.
        root: How the names of our folders there begin.
    """

    name: str
    shell: tuple[str, ...]
    copy: tuple[str, ...]
    prefix: str
    root: str

    @classmethod
    def parse(cls, text: str) -> 'Remote':
        """The machine that ``[USER@]HOST[:PORT]`` names for ssh, or ``adb[:SERIAL]`` for adb.

        Raises:
            ValueError: If it is neither, or the program that reaches it is not installed.
        """
        if found := ADB.fullmatch(text):
            chosen = () if found['serial'] is None else ('-s', found['serial'])
            remote = cls(text, ('adb', *chosen, 'shell'), ('adb', *chosen, 'push'), '', '/data/local/tmp/mmhybrid-')
        elif found := SSH.fullmatch(text):
            alive = ('-o', 'ServerAliveInterval=30')  # or a network that is gone would be waited for
            ports = ((), ()) if found['port'] is None else (('-p', found['port']), ('-P', found['port']))
            host = found['host']
            shell, copy = ('ssh', *alive, *ports[0], host), ('scp', '-q', *alive, *ports[1])
            remote = cls(text, shell, copy, f'{host}:', 'mmhybrid-')
        else:
            raise bad_value('remote', text, '[USER@]HOST[:PORT], as ssh knows it, or adb or adb:SERIAL')
        for program in (remote.shell[0], remote.copy[0]):
            if shutil.which(program) is None:
                raise MissingPackageError(f'remote {text}: the program {program} is not installed')
        return remote

    def answer(self, *command: str) -> bytes:
        """What a command there writes.

        Raises:
            CannotGoOnError: If it fails.
            ValueError: If it writes more than any file of timings.
        """
        return self._run(self._words(command), Path())

    def send(self, files: Sequence[str], start: Path, folder: str) -> None:
        """Copy files, whose names are within ``start``, into a folder there; CannotGoOnError if that fails."""
        self._run([*self.copy, *files, f'{self.prefix}{folder}/'], start)

    def follow(self, command: Sequence[str], say: Callable[[str], object]) -> None:
        """Run a command there to its end, and say what it says, line by line; CannotGoOnError if it fails."""
        words, last = self._words(command), ''
        streams: Any = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
        with subprocess.Popen(words, **streams) as process:
            assert process.stdout is not None
            while line := process.stdout.readline(LONGEST_LINE):
                last = printable(line.decode(errors='replace').strip())
                say(last)
        self._check(process.returncode, words, last)

    def _words(self, command: Sequence[str]) -> list[str]:
        """What has a command run there, whose words a shell leaves as they are."""
        assert shlex.join(command) == ' '.join(command)
        return [*self.shell, ' '.join(command)]

    def _run(self, words: Sequence[str], start: Path) -> bytes:
        with tempfile.TemporaryFile() as errors:
            streams: Any = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': errors}
            with subprocess.Popen(words, cwd=start, **streams) as process:
                assert process.stdout is not None
                answer: bytes = process.stdout.read(LARGEST + 1)
                if len(answer) > LARGEST:
                    process.kill()
                    raise ValueError(f'{self.name}: more than {LARGEST} bytes came back')
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - LONGEST_LINE))
            said = errors.read().decode(errors='replace').split('\n')
        self._check(process.returncode, words, next((line for line in reversed(said) if line.strip()), ''))
        return answer

    def _check(self, code: int, words: Sequence[str], last: str) -> None:
        """Raise CannotGoOnError for a program that failed, with what it said last."""
        if code:
            said = f': {printable(last.strip())}' if last.strip() else ''
            raise CannotGoOnError(f'{" ".join(words)} ended with {code}{said}; the same command continues')


def measure_remotely(
    workload: Workload,
    device: Device,
    plan: Plan,
    remote: Remote,
    out: str | Path,
    python: str = 'python3',
    pause: float = 0.0,
    say: Callable[[str], object] = lambda line: None,
) -> LatencyTable:
    """Measure a space on another machine, and write its table to ``out``.

    Until that is there, the bundle stays in ``out`` with ``.bundle`` behind it, and on the device: an interrupted call
    continues with what was exported, copied and measured.

    Args:
        workload: The networks of the space.
        device: See :meth:`Device.elsewhere`.
        plan: Which are measured, and how often.
        remote: The machine.
        out: The table.
        python: The program that runs Python there.
        pause: Seconds before each round, in which the device cools down.
        say: Is given each line that the program there writes.

    Raises:
        ValueError: If an argument is wrong, or what comes back is not what was asked for.
        CannotGoOnError: If the machine is not reached, or its program fails.
    """
    check_target(out)
    if is_special(out):
        raise ValueError(f'{out}: a device or a pipe, beside which no bundle is kept')
    if not PROGRAM.fullmatch(python):
        raise bad_value('python', python, 'the name or the path of a program, without spaces')
    check_float('pause', pause, 0, LONGEST_PAUSE)
    remote.answer(python, '--version')  # before long work
    bundle = Path(f'{out}.bundle')
    write_bundle(workload, device, plan, bundle)
    there = _There(remote, bundle, python)
    there.copy()
    there.measure(pause, say)
    table = there.table(workload)
    table.save(out)
    there.remove()
    remove_bundle(bundle)
    return table


class _There:
    """A bundle on another machine, in a folder of its own.

    Args:
        remote: The machine.
        bundle: The same here.
        python: The program that runs Python there.
    """

    def __init__(self, remote: Remote, bundle: Path, python: str) -> None:
        self.remote = remote
        self.bundle = bundle
        self.python = python
        self.folder = f'{remote.root}{digest_of(bundle)}'
        self.script = f'{self.folder}/{SCRIPT}'

    def copy(self) -> None:
        """Copy what is not there, or not whole."""
        self.remote.answer('mkdir', '-p', f'{self.folder}/{NETWORKS}')
        self.remote.send([SCRIPT, MANIFEST], self.bundle, self.folder)
        named = self.remote.answer(self.python, self.script, '--missing').decode(errors='replace').split()
        files = files_of(self.bundle)
        missing = [file for file in files if file in set(named)]
        if missing:
            with Steps() as steps:
                step = steps.begin('networks copied', len(files), len(files) - len(missing))
                for start in range(0, len(missing), AT_ONCE):
                    some = missing[start : start + AT_ONCE]
                    self.remote.send(some, self.bundle, f'{self.folder}/{NETWORKS}')
                    for _ in some:
                        step()

    def measure(self, pause: float, say: Callable[[str], object]) -> None:
        """Run the program to its end."""
        self.remote.follow((self.python, self.script, '--pause', f'{pause:g}'), say)

    def table(self, workload: Workload) -> LatencyTable:
        """What it has measured."""
        name = f'{self.remote.name}: {TIMINGS}'
        content = self.remote.answer('cat', f'{self.folder}/{TIMINGS}')
        try:
            raw = parse_json(content)
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
        return table_of_timings(workload, name, raw)

    def remove(self) -> None:
        """Leave nothing there."""
        self.remote.answer('rm', '-rf', self.folder)
