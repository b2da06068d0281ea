"""Latency tables of a machine that ssh or adb reaches.

A bundle is copied to the machine and run there, and its timings are fetched.
"""

import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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

# Allowed names of machines and of programs on them. No shell or program can take such a name for something else.
SSH = re.compile(r'(?P<host>(\w[\w.-]*@)?\w[\w.-]*)(:(?P<port>\d{1,5}))?', re.ASCII)
ADB = re.compile(r'adb(:(?P<serial>\w[\w.:-]*))?', re.ASCII)
PROGRAM = re.compile(r'[\w./][\w./+-]*', re.ASCII)
# Number of files that are copied at once; an interrupted copy loses these.
AT_ONCE = 16
# Bytes of a line, and of the end of a program's messages that is kept.
LONGEST_LINE = 2000
# Within which the last of it is read once the program has ended.
SECONDS_FOR_REST = 2.0
# Time limits of a command there, a password included, and of a copy of AT_ONCE files. A measurement may take days.
SECONDS, SECONDS_FOR_COPY = 600.0, 7200.0


@dataclass(frozen=True)
class Remote:
    """A machine and how it is reached.

    Args:
        name: Name that the user gave.
        shell: Program that runs a command line on the machine, with the arguments before the command line.
        copy: Program that copies files to the machine, with the arguments before the files.
        prefix: Prefix of a target folder when files are copied.
        root: Prefix of the names of our folders on the machine.
    """

    name: str
    shell: tuple[str, ...]
    copy: tuple[str, ...]
    prefix: str
    root: str

    @classmethod
    def parse(cls, text: str) -> 'Remote':
        """Return the machine that ``[USER@]HOST[:PORT]`` names for ssh, or ``adb[:SERIAL]`` for adb.

        Raises:
            ValueError: If the text is neither.
            MissingPackageError: If the program that reaches the machine is not installed.
        """
        if found := ADB.fullmatch(text):
            chosen = () if found['serial'] is None else ('-s', found['serial'])
            remote = cls(text, ('adb', *chosen, 'shell'), ('adb', *chosen, 'push'), '', '/data/local/tmp/mmhybrid-')
        elif found := SSH.fullmatch(text):
            alive = ('-o', 'ServerAliveInterval=30')  # a lost connection would otherwise be waited for
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
        """Return what a command on the machine prints.

        Raises:
            CannotGoOnError: If the command fails, or does not end within ten minutes.
            ValueError: If the output is larger than any file of timings.
        """
        return self._run(self._words(command), Path(), SECONDS)

    def send(self, files: Sequence[str], start: Path, folder: str) -> None:
        """Copy files, whose names are relative to ``start``, into a folder there; CannotGoOnError if that fails."""
        self._run([*self.copy, *files, f'{self.prefix}{folder}/'], start, SECONDS_FOR_COPY)

    def follow(self, command: Sequence[str], say: Callable[[str], object]) -> None:
        """Run a command there to its end, and pass each line of its output to ``say``; CannotGoOnError if it fails."""
        words, last = self._words(command), ''
        streams: Any = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
        with subprocess.Popen(words, **streams) as process:
            assert process.stdout is not None
            left = LARGEST
            while line := process.stdout.readline(LONGEST_LINE):
                left -= len(line)
                if left < 0:
                    process.kill()
                    raise ValueError(f'{self.name}: its program said more than {LARGEST} bytes')
                last = printable(line.decode(errors='replace').strip())
                say(last)
        self._check(process.returncode, words, last)

    def _words(self, command: Sequence[str]) -> list[str]:
        """Return the local command that runs ``command`` there; no word of it needs quoting in a shell."""
        assert shlex.join(command) == ' '.join(command)
        return [*self.shell, ' '.join(command)]

    def _run(self, words: Sequence[str], start: Path, seconds: float) -> bytes:
        streams: Any = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
        with subprocess.Popen(words, cwd=start, **streams) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            end = _End(process.stderr, process.kill)
            late = threading.Event()

            def give_up() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(seconds, give_up)
            timer.start()
            try:
                answer: bytes = process.stdout.read(LARGEST + 1)
                if len(answer) > LARGEST:
                    process.kill()
                process.wait()
            finally:
                timer.cancel()
            if len(answer) > LARGEST or end.is_too_long:
                raise ValueError(f'{self.name}: more than {LARGEST} bytes came back')
            if late.is_set():
                raise CannotGoOnError(f'{" ".join(words)}: no end within {seconds:g} s; the same command continues')
            said = end.text().split('\n')
        self._check(process.returncode, words, next((line for line in reversed(said) if line.strip()), ''))
        return answer

    def _check(self, code: int, words: Sequence[str], last: str) -> None:
        """Raise CannotGoOnError, with the last line of output, if a program failed."""
        if code:
            said = f': {printable(last.strip())}' if last.strip() else ''
            raise CannotGoOnError(f'{" ".join(words)} ended with {code}{said}; the same command continues')


class _End:
    """Reads the stream of a program and keeps only its end, since the whole may not fit on the disk.

    Args:
        stream: Stream of bytes, not buffered.
        stop: Function that ends the program, which is called once it has said more than :data:`LARGEST` bytes.

    Attributes:
        is_too_long: Whether that has happened.
    """

    def __init__(self, stream: IO[bytes], stop: Callable[[], object]) -> None:
        self.is_too_long = False
        self._stream = stream
        self._stop = stop
        self._last = b''
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        left = LARGEST
        with suppress(OSError, ValueError):  # the stream is closed
            while part := os.read(self._stream.fileno(), 2**16):
                self._last = (self._last + part)[-LONGEST_LINE:]
                left -= len(part)
                if left < 0:
                    self.is_too_long = True
                    self._stop()
                    return

    def text(self) -> str:
        """Return the end, once the program has ended; processes that ssh leaves behind are not waited for."""
        self._thread.join(SECONDS_FOR_REST)
        return self._last.decode(errors='replace')


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

    Until the table is written, the bundle stays on the device and here, in a folder named ``out`` with the suffix
    ``.bundle``. An interrupted call continues with what was exported, copied and measured.

    Args:
        workload: The networks of the space.
        device: The other machine's device, see :meth:`Device.elsewhere`.
        plan: Which networks are measured, and how often.
        remote: The machine.
        out: Path of the table.
        python: Program that runs Python on the machine.
        pause: Seconds before each round, in which the device cools down.
        say: Function that receives each line that the program on the machine prints.

    Raises:
        ValueError: If an argument is wrong, or the timings are not those that were asked for.
        CannotGoOnError: If the machine cannot be reached, or its program fails.
    """
    check_target(out)
    if is_special(out):
        raise ValueError(f'{out}: a device or a pipe; a bundle can only be kept beside a file')
    if not PROGRAM.fullmatch(python):
        raise bad_value('python', python, 'the name or the path of a program, without spaces')
    check_float('pause', pause, 0, LONGEST_PAUSE)
    remote.answer(python, '--version')  # fails early, before the long work
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
        bundle: Folder of the same bundle on this machine.
        python: Program that runs Python on the other machine.
    """

    def __init__(self, remote: Remote, bundle: Path, python: str) -> None:
        self.remote = remote
        self.bundle = bundle
        self.python = python
        self.folder = f'{remote.root}{digest_of(bundle)}'
        self.script = f'{self.folder}/{SCRIPT}'

    def copy(self) -> None:
        """Copy the files that are missing or damaged on the machine."""
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
        """Return the table of the measured timings."""
        name = f'{self.remote.name}: {TIMINGS}'
        content = self.remote.answer('cat', f'{self.folder}/{TIMINGS}')
        try:
            raw = parse_json(content)
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
        return table_of_timings(workload, name, raw)

    def remove(self) -> None:
        """Remove the folder on the machine."""
        self.remote.answer('rm', '-rf', self.folder)
