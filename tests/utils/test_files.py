"""Files that appear complete or not at all."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mmhybrid
from mmhybrid.space import Arch
from mmhybrid.utils.files import drop_link_outward, open_own, part_folder, read_json, remove_parts, write_whole


def test_replaces_what_was_there(tmp_path):
    path = tmp_path / 'page.html'
    for content in (b'old', b'new'):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ['page.html']


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / 'page.html'
    write_whole(path, b'old')

    def fail(source, target):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='disk full'):
        write_whole(path, b'new')
    assert path.read_bytes() == b'old'
    assert [file.name for file in tmp_path.iterdir()] == ['page.html']


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match='folder does not exist'):
        write_whole(tmp_path / 'none' / 'page.html', b'')


def test_a_link_is_followed(tmp_path):
    (tmp_path / 'there').mkdir()
    real = tmp_path / 'there' / 'real.json'
    for name, target in (('absolute', real), ('relative', 'there/real.json')):
        link = tmp_path / name
        link.symlink_to(target)
        write_whole(link, name)
        assert link.is_symlink()
        assert real.read_text() == name
        assert [file.name for file in real.parent.iterdir()] == ['real.json']
    (tmp_path / 'loop').symlink_to('loop')
    with pytest.raises(ValueError, match='a link that leads to itself'):
        write_whole(tmp_path / 'loop', b'')


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe, read = tmp_path / 'pipe', []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_whole(pipe, b'content')
    reader.join(10)
    assert read == [b'content']
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_to_and_stays(tmp_path):
    """A link to it, so that a failure of this test would not cost the device."""
    link = tmp_path / 'null'
    link.symlink_to('/dev/null')
    folder = set(Path('/dev').iterdir())
    write_whole(link, b'content')
    assert stat.S_ISCHR(link.stat().st_mode)
    assert link.is_symlink()
    assert set(Path('/dev').iterdir()) == folder


def test_permissions_of_a_file_stay(tmp_path):
    path = tmp_path / 'private.json'
    path.write_bytes(b'')
    path.chmod(0o600)
    write_whole(path, b'content')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_in_the_place_of_the_part_file_is_not_followed(tmp_path):
    (tmp_path / 'other').write_bytes(b'of another')
    (tmp_path / f'.page.html.{os.getpid()}').symlink_to('other')
    write_whole(tmp_path / 'page.html', b'page')
    assert (tmp_path / 'other').read_bytes() == b'of another'
    assert (tmp_path / 'page.html').read_bytes() == b'page'


# beside an empty package, whose own modules would import torch
WRITER = """
import os, sys, types
from pathlib import Path
package = sys.modules['mmhybrid'] = types.ModuleType('mmhybrid')
package.__path__ = [sys.argv[3]]
from mmhybrid.utils import files
def wait(file):
    print('writing', flush=True)
    sys.stdin.readline()
if sys.argv[2] == 'file':
    os.fsync = wait
    files.write_whole(sys.argv[1], b'of another')
else:
    with files.part_folder(Path(sys.argv[1])) as folder:
        (folder / 'draft').touch()
        wait(None)
"""


@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_parts_of_killed_processes_are_removed_and_those_of_living_ones_stay(tmp_path, kind):
    path = tmp_path / 'iter_14.pth'
    other = tmp_path / '.iter_14.pth.backup'
    other.touch()

    def start():
        command = [sys.executable, '-c', WRITER, str(path), kind, str(Path(mmhybrid.__file__).parent)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == 'writing\n'
        return process

    def write():
        if kind == 'file':
            write_whole(path, b'mine')
        else:
            with part_folder(path):
                pass

    def parts():
        return {item for item in tmp_path.iterdir() if item.name.startswith('.')} - {other}

    killed = start()
    assert len(parts()) == 1
    living = start()
    assert len(parts()) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    write()
    assert len(parts()) == 1
    living.communicate('go on\n')
    assert living.returncode == 0
    assert not parts()
    assert kind == 'folder' or path.read_bytes() == b'of another'


def test_what_only_looks_like_a_part_stays(tmp_path):
    (tmp_path / 'target').touch()
    (tmp_path / '.a.pth.1').symlink_to('target')
    for name in ('.b.pth.1', 'a.pth.1', '.a.pth.x', '.a.pth', '.1'):
        (tmp_path / name).touch()
    before = set(tmp_path.iterdir())
    remove_parts(tmp_path, re.escape('a.pth'))
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize('text', ['{"a": 1, "a": 2}', '{"b": [{"a": 1, "a": 1}]}', '[' * 100_000])
def test_json_that_python_would_read_in_silence_or_not_at_all(tmp_path, text):
    path = tmp_path / 'arch.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=r"arch\.json: not JSON.* \((the key 'a' is there twice|nested too deeply)\)"):
        read_json(path)
    with pytest.raises(ValueError, match=r"the key 'a' is there twice|nested too deeply"):
        Arch.from_json(text)


@pytest.mark.parametrize('append', [False, True])
def test_a_log_is_written_through_no_link(tmp_path, append):
    """Nor into a file that has another name elsewhere, unless it is to be continued."""
    other, log = tmp_path / 'other', tmp_path / 'work/log'
    log.parent.mkdir()
    for target in ('../other', '../new', 'log'):
        other.write_text('as it was')
        log.symlink_to(target)
        with open_own(log, append) as file:
            file.write('a')
        with open_own(log, append) as file:
            file.write('b')
        assert log.read_text() == ('ab' if append else 'b')
        assert other.read_text() == 'as it was'
        assert not (tmp_path / 'new').exists()
        log.unlink()
    log.hardlink_to(other)
    open_own(log).close()
    assert other.read_text() == 'as it was'


def test_a_folder_of_others_has_no_file_elsewhere_replaced(tmp_path):
    """Links in the place of what a program writes by names of its own are followed within the folder alone."""
    folder, other = tmp_path / 'work', tmp_path / 'other'
    folder.mkdir()
    for target in (other, folder / 'inside'):
        target.write_text('as it was')
    links = {'out': other, 'relative': '../other', 'nothing': tmp_path / 'new', 'in': 'inside', 'null': '/dev/null'}
    for name, target in links.items():
        (folder / name).symlink_to(target)
        drop_link_outward(folder / name)
        assert (folder / name).is_symlink() == (name in ('in', 'null'))
    drop_link_outward(folder / 'inside')
    assert other.read_text() == (folder / 'inside').read_text() == 'as it was'
    (folder / 'loop').symlink_to('loop')
    with pytest.raises(ValueError, match='a link that leads to itself'):
        drop_link_outward(folder / 'loop')
