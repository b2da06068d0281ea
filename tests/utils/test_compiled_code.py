"""Compiled code is loaded from no folder that others could have made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_python import environment_of

from mmhybrid.torch_api import why_not_compiled
from mmhybrid.utils.compiled_code import CACHE, keep_own_code


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home, beside the folder for temporary files."""
    monkeypatch.delenv(CACHE, raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    (tmp_path / 'home').mkdir()
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    return tmp_path / 'home'


def test_it_is_in_a_folder_of_the_users_own(home: Path) -> None:
    keep_own_code()
    folder = Path(os.environ[CACHE])
    assert folder == home / '.cache/mmhybrid/torchinductor'
    assert folder.stat().st_mode & 0o777 == 0o700
    del os.environ[CACHE]
    keep_own_code()  # that is there already
    assert Path(os.environ[CACHE]) == folder


def test_the_users_choice_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, 'mine')
    keep_own_code()
    assert os.environ[CACHE] == 'mine'
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv('XDG_CACHE_HOME', str(home / 'cache'))
    keep_own_code()
    assert Path(os.environ[CACHE]) == home / 'cache/mmhybrid/torchinductor'


def test_an_empty_name_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For torch, it would be the current folder."""
    monkeypatch.setenv(CACHE, '')
    keep_own_code()
    assert Path(os.environ[CACHE]) == home / '.cache/mmhybrid/torchinductor'


@pytest.mark.slow
@pytest.mark.skipif(why_not_compiled('cpu') is not None, reason='needs a compiler')
def test_a_profile_keeps_all_of_it_there(home: Path, tmp_path: Path) -> None:
    """Headers too, which torch compiles into each library, and which others could put into its usual folder."""
    (tmp_path / 'temporary').mkdir()
    words = ['-m', 'mmhybrid', 'profile-latency', 'mmhybrid::demo/autovit_search.py', '--out', str(tmp_path / 'table')]
    words += [
        '--backend',
        'compile',
        '--threads',
        '1',
        '--networks',
        '2',
        '--repeats',
        '2',
        '--warmup',
        '0',
        '--resolutions',
        '96',
    ]
    environment = {**environment_of(), 'TMPDIR': str(tmp_path / 'temporary')}
    done = subprocess.run([sys.executable, *words], env=environment, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((home / '.cache/mmhybrid/torchinductor').rglob('*.so'))
    assert not list((tmp_path / 'temporary').glob('torchinductor*'))


def test_a_folder_for_one_process_goes_with_it(home: Path) -> None:
    (home / '.cache').touch()
    program = (
        'import os; from mmhybrid.utils.compiled_code import *; keep_own_code(); print(os.environ[CACHE]); '
        'assert os.path.isdir(os.environ[CACHE])'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True
    )  # no fork: that has no such end
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).exists()


@pytest.mark.parametrize('kind', ['writable', 'link', 'file'])
def test_a_folder_that_others_may_write_to_is_not_used(home: Path, kind: str) -> None:
    place = home / '.cache/mmhybrid/torchinductor'
    place.parent.mkdir(parents=True)
    if kind == 'writable':
        place.mkdir()
        place.chmod(0o777)
    elif kind == 'link':
        place.symlink_to(home)
    else:
        place.touch()
    keep_own_code()
    folder = Path(os.environ[CACHE])
    assert folder != place
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(folder.iterdir())
    folder.rmdir()
    del os.environ[CACHE]
