import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmhybrid.datasets.split import split_classes, write_split


@pytest.fixture
def train(tmp_path: Path) -> Path:
    for name, count in (('cat', 10), ('ant', 20), ('bee', 30)):
        folder = tmp_path / 'train' / name
        folder.mkdir(parents=True)
        for i in range(count):
            (folder / f'{i}.JPEG').touch()
        (folder / 'notes.txt').touch()
    return tmp_path / 'train'


@given(st.lists(st.integers(2, 1000), min_size=1, max_size=30), st.data())
def test_counts_are_proportional_and_exact(sizes: list[int], data: st.DataObject) -> None:
    held_out = data.draw(st.integers(1, sum(sizes)))
    counts = split_classes(sizes, held_out)
    assert sum(counts) == held_out
    assert all(abs(count - size * held_out / sum(sizes)) < 1 + 1e-9 for count, size in zip(counts, sizes, strict=True))


def test_files(train: Path, tmp_path: Path) -> None:
    counts = write_split(train, tmp_path / 'meta', num_held_out=12, seed=0)
    files = {name: (tmp_path / 'meta' / name).read_text().splitlines() for name in counts}
    assert (
        {name: len(lines) for name, lines in files.items()} == counts == {'search_train.txt': 48, 'search_val.txt': 12}
    )
    entries = [line.rsplit(' ', 1) for lines in files.values() for line in lines]
    assert len({path for path, _ in entries}) == 60
    assert {path.split('/')[0]: label for path, label in entries} == {'ant': '0', 'bee': '1', 'cat': '2'}
    assert [sum(line.startswith(name) for line in files['search_val.txt']) for name in ('ant', 'bee', 'cat')] == [
        4,
        6,
        2,
    ]


def test_seeded(train: Path, tmp_path: Path) -> None:
    texts = []
    for i, seed in enumerate((0, 0, 1)):
        write_split(train, tmp_path / str(i), num_held_out=12, seed=seed)
        texts.append((tmp_path / str(i) / 'search_val.txt').read_text())
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize('count', [0, 60, -1])
def test_refuses_bad_counts(train: Path, tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match=f'num_held_out: got {count}, allowed: an int from 1 to 59'):
        write_split(train, tmp_path / 'meta', count, seed=0)
    assert not (tmp_path / 'meta').exists()


def test_refuses_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'train: got .*missing'):
        write_split(tmp_path / 'missing', tmp_path, 1, seed=0)
    with pytest.raises(ValueError, match='class folders with images'):
        write_split(tmp_path, tmp_path, 1, seed=0)


@pytest.mark.parametrize('name', ['a.jpg 2\nb.jpg', '\x85.jpg', '\r.jpg', '\udcff.jpg'])
def test_a_name_that_breaks_a_line_is_refused(train: Path, tmp_path: Path, name: str) -> None:
    """It would give an image another label."""
    (train / 'ant' / name).touch()
    with pytest.raises(ValueError, match=r"train: got 'ant/.*', allowed: names in UTF-8 without line breaks"):
        write_split(train, tmp_path / 'meta', num_held_out=12, seed=0)
    assert not (tmp_path / 'meta').exists()


def test_what_is_no_file_is_no_image(train: Path, tmp_path: Path) -> None:
    """Training would wait for a pipe without end."""
    os.mkfifo(train / 'ant/pipe.jpg')
    (train / 'ant/folder.jpg').mkdir()
    (train / 'bee/loop.jpg').symlink_to('loop.jpg')
    (train / 'bee/link.jpg').symlink_to('0.JPEG')
    write_split(train, tmp_path / 'meta', num_held_out=60, seed=0)
    text = ''.join(path.read_text() for path in (tmp_path / 'meta').iterdir())
    assert len(text.splitlines()) == 61
    assert 'bee/link.jpg 1' in text
