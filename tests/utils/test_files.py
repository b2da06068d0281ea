"""Files that appear complete or not at all."""

import os

import pytest

from mmhybrid.utils.files import write_whole


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
