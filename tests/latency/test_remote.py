"""A machine that ssh or adb reaches, in whose place stand programs of these names, and once a real server."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from exported_toy import TINY, Toy, exported, far, milliseconds_of
from far_device import make_device

from mmhybrid.latency import design, remote
from mmhybrid.latency.backends import OnnxRuntimeBackend
from mmhybrid.latency.devices import Device
from mmhybrid.latency.remote import Remote, measure_remotely
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan
from mmhybrid.torch_api import EXPORTING
from mmhybrid.utils.errors import CannotGoOnError
from mmhybrid.utils.optional import MissingPackageError

PLAN = Plan(networks=7, repeats=2, warmup=1, held_params=40_000)
pytestmark = pytest.mark.torch_since(*EXPORTING)
# Each writes its arguments down, answers late, and does in the device's folder what it would there: ssh's server and
# adb's hand a line to a shell.
SHELL = """
cd "$DEVICE/home"
export PATH="$DEVICE/bin:/usr/bin:/bin" PYTHONPATH="$DEVICE/runtime"
exec bash -c "$line"
"""
PROGRAMS = {
    'ssh': """
while [[ $1 == -* ]]; do shift 2; done
host=$1; shift; line="$*"
"""
    + SHELL,
    'scp': """
while [[ $1 == -* ]]; do [[ $1 == -q ]] && shift || shift 2; done
files=("${@:1:$#-1}"); target=${@: -1}
cp "${files[@]}" "$DEVICE/home/${target#*:}"
""",
    'adb': """
[[ $1 == -s ]] && shift 2
what=$1; shift
if [[ $what == push ]]; then
    files=("${@:1:$#-1}"); target=${@: -1}
    cp "${files[@]}" "${target/\\/data\\/local\\/tmp/$DEVICE/home}"
    exit
fi
line="${*//\\/data\\/local\\/tmp/$DEVICE/home}"
"""
    + SHELL,
}
HEAD = """#!/bin/bash
printf '%s\\n' "$(basename "$0") $*" >> "$DEVICE/calls.txt"
sleep 0.05
"""


class Place:
    """A device, and what was asked of it."""

    def __init__(self, folder):
        self.folder = folder

    @property
    def calls(self):
        return (self.folder / 'calls.txt').read_text().splitlines()

    @property
    def left(self):
        return list((self.folder / 'home').iterdir())


@pytest.fixture
def device(monkeypatch, tmp_path):
    place = Place(tmp_path / 'device')
    for name in ('home', 'bin', 'programs'):
        (place.folder / name).mkdir(parents=True)
    make_device(place.folder / 'runtime')
    (place.folder / 'bin/python3').write_text(f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    (place.folder / 'bin/python3').chmod(0o755)
    for name, text in PROGRAMS.items():
        (place.folder / 'programs' / name).write_text(HEAD + text)
        (place.folder / 'programs' / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{place.folder / "programs"}:{os.environ["PATH"]}')
    monkeypatch.setenv('DEVICE', str(place.folder))
    monkeypatch.setattr(design, 'POOL_SIZE', 30)
    monkeypatch.setattr(OnnxRuntimeBackend, 'export', Toy.export)
    monkeypatch.chdir(tmp_path)
    return place


def measure(host, out='table.json', **options):
    return measure_remotely(TINY, far(), PLAN, Remote.parse(host), out, **options)


@pytest.mark.parametrize('host', ['pi@board', 'board:2222', 'adb', 'adb:emulator-5554'])
def test_a_device_at_half_speed(host, device, monkeypatch, tmp_path):
    """Exactly its own milliseconds, whatever the way takes; and nothing is left on either side."""
    monkeypatch.setenv('SPEED', '0.5')
    said = []
    table = measure(host, say=said.append)
    expected = [2 * milliseconds_of(TINY.params(m.arch)) for m in table.measurements]
    assert [m.ms for m in table.measurements] == pytest.approx(expected)
    assert LatencyTable.load('table.json') == table
    assert not device.left
    assert sorted(path.name for path in tmp_path.iterdir()) == ['device', 'exports.txt', 'table.json']
    assert sum('round' in line for line in said) > 4
    assert len(device.calls) == 8  # python, mkdir, copies of two files and of seven, missing, measure, cat, rm
    options = {'pi@board': '-o ServerAliveInterval=30 pi@board ', 'board:2222': '-p 2222 board '}
    assert options.get(host, 'shell ') in device.calls[-1]
    assert all(' board:' in call or '@board:' in call for call in device.calls if call.startswith('scp'))
    assert {'adb:emulator-5554': '-s emulator-5554'}.get(host, '') in device.calls[-1]


def test_what_was_killed_goes_on(device, monkeypatch):
    """Nothing is exported, copied or measured again that was whole."""
    monkeypatch.setenv('RUNS', str(device.folder / 'runs.txt'))
    for killed in (3, 70, 40):
        monkeypatch.setenv('KILLED', str(killed))
        with pytest.raises(CannotGoOnError, match=r'^ssh .* ended with -9(: .*)?; the same command continues$'):
            measure('board')
        assert len(device.left) == 1
        assert not Path('table.json').exists()
    monkeypatch.delenv('KILLED')
    table = measure('board')
    assert [m.ms for m in table.measurements] == pytest.approx(
        [milliseconds_of(TINY.params(m.arch)) for m in table.measurements]
    )
    assert len(exported()) == len(set(exported())) == PLAN.networks
    copies = [call for call in device.calls if call.startswith('scp') and 'networks' in call]
    assert len(copies) == 1
    monkeypatch.setenv('RUNS', str(device.folder / 'undisturbed.txt'))
    measure('board', 'other.json')
    runs, once = (len((device.folder / name).read_text().splitlines()) for name in ('runs.txt', 'undisturbed.txt'))
    assert once + 3 < runs < once + 3 + 70 + 40
    assert not device.left


def test_an_interrupted_copy_goes_on(device, monkeypatch):
    monkeypatch.setattr(remote, 'AT_ONCE', 2)
    program = device.folder / 'programs/scp'
    whole = program.read_text()
    broken = whole.replace(
        'cp "${files[@]}"',
        '[[ -e "$DEVICE/third" ]] && head -c 9 "${files[0]}" > "$DEVICE/home/'
        '${target#*:}$(basename "${files[0]}")" && exit 1\n[[ -e "$DEVICE/second" ]] && touch "$DEVICE/third"\n'
        '[[ -e "$DEVICE/first" ]] && touch "$DEVICE/second"\ntouch "$DEVICE/first"\ncp "${files[@]}"',
    )
    program.write_text(broken)
    with pytest.raises(CannotGoOnError, match=r'^scp .* ended with 1'):
        measure('board')
    begun = len([call for call in device.calls if call.startswith('scp') and 'networks' in call])
    program.write_text(whole)
    measure('board')
    copies = [call for call in device.calls if call.startswith('scp') and 'networks' in call]
    files = [word for call in copies[begun:] for word in call.split() if word.endswith('.onnx')]
    assert len(files) == PLAN.networks - 2 * (begun - 1)  # the last copy was broken off


def test_a_device_that_gets_hot(device, monkeypatch):
    monkeypatch.setenv('THROTTLED', '60')
    with pytest.warns(UserWarning, match=r'speed went from 1\.00 to 0\.60'):
        measure('adb')


def test_failures_are_told(device, monkeypatch):
    with pytest.raises(CannotGoOnError, match=r'no_python: command not found; the same command continues'):
        measure('board', python='no_python')
    assert not exported()  # it was told before long work
    (device.folder / 'runtime/onnxruntime.py').write_text('raise ImportError("none\x1b[2J here")')
    with pytest.raises(CannotGoOnError, match=r'ended with 2: none\\x1b\[2J here; pip install onnxruntime; the same'):
        measure('board')


@pytest.mark.parametrize(
    ('answer', 'word'),
    [
        ('yes', 'board: more than 100000 bytes came back'),
        ('echo 5', r'board: timings\.json: got 5, allowed: a dict'),
        ('echo {', r'board: timings\.json: Expecting'),
        ('echo "{\\"setting\\": 1, \\"timed\\": [], \\"again\\": []}"', r'board: timings\.json: setting: got 1'),
    ],
)
def test_what_comes_back_is_not_believed(device, monkeypatch, answer, word):
    monkeypatch.setattr(remote, 'LARGEST', 100_000)
    (device.folder / 'bin/cat').write_text(f'#!/bin/bash\n{answer}\n')
    (device.folder / 'bin/cat').chmod(0o755)
    with pytest.raises(ValueError, match=word):
        measure('board')
    assert not Path('table.json').exists()


def test_a_device_that_complains_without_end_takes_no_disk(device, monkeypatch):
    """Forty megabytes on stderr, of which the last line is told."""
    python = device.folder / 'bin/python3'
    python.write_text('#!/bin/bash\nhead -c 40000000 /dev/zero >&2; echo; echo; echo the end >&2\nexit 3\n')

    def refuse(*arguments, **options):
        raise AssertionError('no file of what it says')

    monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)
    with pytest.raises(CannotGoOnError, match=r'ended with 3: .*the end; the same command continues'):
        Remote.parse('board').answer('python3', '--version')


@pytest.mark.parametrize(
    ('does', 'limits', 'kind', 'word'),
    [
        ('exec sleep 60', {'SECONDS': 0.5}, CannotGoOnError, r'--version: no end within 0\.5 s; the same command'),
        ('exec cat /dev/zero >&2', {'LARGEST': 100_000}, ValueError, 'board: more than 100000 bytes came back'),
    ],
)
def test_a_device_is_not_waited_for_without_end(device, monkeypatch, does, limits, kind, word):
    for name, value in limits.items():
        monkeypatch.setattr(remote, name, value)
    (device.folder / 'bin/python3').write_text(f'#!/bin/bash\n{does}\n')
    began = time.monotonic()
    with pytest.raises(kind, match=word):
        Remote.parse('board').answer('python3', '--version')
    assert time.monotonic() - began < 30


def test_what_is_left_behind_by_ssh_is_not_waited_for(device, monkeypatch):
    """A master of shared connections (ControlPersist) keeps its stderr."""
    (device.folder / 'bin/python3').write_text('#!/bin/bash\nsleep 60 >/dev/null &\necho oh >&2\nexit 3\n')
    monkeypatch.setattr(remote, 'SECONDS_FOR_REST', 0.2)
    began = time.monotonic()
    with pytest.raises(CannotGoOnError, match='ended with 3: oh'):
        Remote.parse('board').answer('python3', '--version')
    assert time.monotonic() - began < 30


def test_a_program_there_says_no_more_than_a_file_holds(device, monkeypatch):
    monkeypatch.setattr(remote, 'LARGEST', 100_000)
    (device.folder / 'bin/python3').write_text('#!/bin/bash\nyes | tr -d "\\n"\n')
    with pytest.raises(ValueError, match='board: its program said more than 100000 bytes'):
        Remote.parse('board').follow(['python3'], lambda line: None)


def test_files_that_a_device_calls_missing_are_ours(device, monkeypatch):
    """It gets no other file of this machine."""
    python = device.folder / 'bin/python3'
    python.write_text(
        f'#!/bin/bash\n[[ $* == *--missing ]] && echo ../table.json /etc/passwd\nexec {sys.executable} "$@"\n'
    )
    measure('board')
    assert not [call for call in device.calls if 'passwd' in call or '../' in call]


@pytest.mark.parametrize(
    'host',
    ['', '-oProxyCommand=id', 'a b', 'a;id', '$(id)', 'a@-b', '-a@b', '@b', 'a@', 'host\n', 'a:b', 'a:1:2', 'a:123456']
    + ['adb:', 'adb:-s', 'adb:a b', 'adb:$(id)', 'a/b', 'ssh://a', '`id`', 'ä', "a'b"],
)
def test_names_that_are_none(host, device):
    with pytest.raises(ValueError, match=r'remote: got .*allowed: \[USER@\]HOST'):
        Remote.parse(host)


def test_arguments_are_checked_before_long_work(device, monkeypatch, tmp_path):
    for options, word in (
        ({'python': 'python3;id'}, "python: got 'python3;id'"),
        ({'python': '-c'}, "python: got '-c'"),
        ({'python': ''}, "python: got ''"),
        ({'pause': -1.0}, 'pause: got -1'),
        ({'pause': 1e6}, 'pause: got 1000000'),
        ({'out': 'none/table.json'}, 'none/table.json: its folder'),
        ({'out': '/dev/null'}, '/dev/null: a device'),
    ):
        with pytest.raises(ValueError, match=word):
            measure('board', **options)
    monkeypatch.setenv('PATH', str(tmp_path))
    for host, program in (('board', 'ssh'), ('adb', 'adb')):
        with pytest.raises(MissingPackageError, match=f'the program {program} is not installed'):
            Remote.parse(host)
    assert not (device.folder / 'calls.txt').exists()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server of ssh on this machine, its port, and clients that know it; skipped where it is not installed."""
    sshd = shutil.which('sshd', path=f'{os.environ["PATH"]}:/usr/sbin')
    if sshd is None or shutil.which('ssh') is None:
        pytest.skip('no server of ssh is installed (openssh-server)')
    os.umask(0o077)
    for name in ('host', 'user'):
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', tmp_path / name], check=True)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    settings = {
        'Port': port,
        'ListenAddress': '127.0.0.1',
        'HostKey': tmp_path / 'host',
        'AuthorizedKeysFile': tmp_path / 'user.pub',
        'PidFile': 'none',
        'StrictModes': 'no',
        'UsePAM': 'no',
        'PermitRootLogin': 'yes',
        'Subsystem': 'sftp internal-sftp',
    }
    (tmp_path / 'sshd_config').write_text('\n'.join(f'{name} {value}' for name, value in settings.items()))
    if os.getuid() == 0:
        Path('/run/sshd').mkdir(exist_ok=True)
    (tmp_path / 'clients').mkdir()
    known = f'-i {tmp_path}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile={tmp_path}/known -o BatchMode=yes'
    for name in ('ssh', 'scp'):
        (tmp_path / 'clients' / name).write_text(f'#!/bin/bash\nexec {shutil.which(name)} {known} -F none "$@"\n')
        (tmp_path / 'clients' / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path / "clients"}:{os.environ["PATH"]}')
    process = subprocess.Popen([sshd, '-D', '-e', '-f', tmp_path / 'sshd_config'], stderr=subprocess.PIPE)
    for _ in range(100):
        with socket.socket() as tried:
            if tried.connect_ex(('127.0.0.1', port)) == 0:
                break
        time.sleep(0.1)
    else:
        process.kill()
        pytest.skip(f'the server of ssh does not start: {process.communicate()[1].decode()}')
    yield port
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize('reached', ['stand-in', 'server'])
def test_onnx_runtime_on_loopback(reached, request, tmp_path, monkeypatch):
    """The real runtime on real networks, as a stand-in hands them over and as OpenSSH does."""
    pytest.importorskip('onnxruntime')
    if reached == 'server':
        host, python = f'127.0.0.1:{request.getfixturevalue("server")}', sys.executable
    else:
        device = request.getfixturevalue('device')
        shutil.rmtree(device.folder / 'runtime')
        host, python = 'board', 'python3'
        monkeypatch.undo()
        monkeypatch.setenv('PATH', f'{device.folder / "programs"}:{os.environ["PATH"]}')
        monkeypatch.setenv('DEVICE', str(device.folder))
    monkeypatch.setattr(design, 'POOL_SIZE', 3)
    monkeypatch.chdir(tmp_path)
    far = Device.elsewhere('cpu', 'onnxruntime', 'float32', 1, 1, 'thread')
    plan = Plan(networks=2, repeats=2, warmup=1)
    table = measure_remotely(TINY, far, plan, Remote.parse(host), 'table.json', python)
    assert not table.device.differences()
    smallest, largest = sorted(table.measurements, key=lambda m: TINY.params(m.arch))
    assert 0 < smallest.ms < largest.ms < 1000
    assert not Path('table.json.bundle').exists()
    assert not list(Path.home().glob('mmhybrid-????????????????'))
