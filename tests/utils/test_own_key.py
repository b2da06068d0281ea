"""The key of a user is the same in all processes, and nobody else's."""

import os

import pytest
from fresh_python import run_python

from mmhybrid.utils.own_key import own_key


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home of its own, where the key is asked for anew."""
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    own_key.cache_clear()
    yield tmp_path / 'state/mmhybrid/key'
    own_key.cache_clear()


def asked_again():
    own_key.cache_clear()
    return own_key()


def test_processes_share_it(home):
    key = own_key()
    assert len(key) == 32
    assert home.read_bytes() == key == asked_again()
    assert home.stat().st_mode & 0o777 == 0o600
    done = run_python('from mmhybrid.utils.own_key import own_key; print(own_key().hex())')
    assert done.stdout.split()[-1] == key.hex()
    assert [path.name for path in home.parent.iterdir()] == ['key']


@pytest.mark.parametrize('spoil', ['others may read it', 'too short', 'a link', 'a folder', 'no folder'])
def test_without_a_file_of_the_user_it_is_the_process_s(home, spoil):
    first = own_key()
    if spoil == 'others may read it':
        home.chmod(0o644)
    elif spoil == 'too short':
        home.write_bytes(b'')
    elif spoil == 'a link':
        home.rename(home.with_name('other'))
        home.symlink_to('other')
    else:
        home.unlink()
        home.mkdir() if spoil == 'a folder' else (home.parent.rmdir(), home.parent.write_text(''))
    keys = {asked_again(), asked_again()}
    assert len(keys) == 2
    assert first not in keys
    assert {len(key) for key in keys} == {32}


def test_two_processes_that_begin_together_have_one(home, monkeypatch):
    """The other one writes while this one does."""
    link = os.link

    def slower(part, path):
        path.write_bytes(b'k' * 32)
        path.chmod(0o600)
        link(part, path)

    monkeypatch.setattr(os, 'link', slower)
    assert own_key() == b'k' * 32
