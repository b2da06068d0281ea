"""Labels in .mat files are read as mat4py reads them, and take no more than files of labels need."""

import resource
import struct
import zlib
from pathlib import Path

import mat4py
import pytest

from mmhybrid import mat_files
from mmhybrid.mat_files import MatFileError

MATRIX, COMPRESSED = 14, 15
CELL, NUMBERS = 1, 9  # classes of matrices: cells, and uint8


def element(kind: int, data: bytes) -> bytes:
    return struct.pack('<II', kind, len(data)) + data + bytes(-len(data) % 8)


def header(kind: int, rows: int, columns: int, name: bytes = b'labels') -> bytes:
    return element(6, struct.pack('<II', kind, 0)) + element(5, struct.pack('<ii', rows, columns)) + element(1, name)


def mat(path: Path, *parts: bytes) -> str:
    path.write_bytes(b'MATLAB 5.0'.ljust(116) + bytes(8) + b'\x00\x01IM' + b''.join(parts))
    return str(path)


def packed(data: bytes) -> bytes:
    content = zlib.compress(element(MATRIX, data), 9)
    return struct.pack('<II', COMPRESSED, len(content)) + content


def overlapping(count: int) -> bytes:
    """Cells of two cells, of which the second is the first within the first, and so on."""
    cell, end = header(CELL, 1, 2, b''), element(MATRIX, header(NUMBERS, 1, 1, b'') + element(2, b'\1'))
    return b''.join(struct.pack('<II', MATRIX, len(cell)) + cell for _ in range(count)) + end * 2


GREEDY = {
    'zeros': packed(header(NUMBERS, 1, 10**8) + struct.pack('<II', 2, 10**8) + bytes(10**8)),
    'many': b''.join(
        packed(header(NUMBERS, 1, 10**7, b'n%d' % n) + struct.pack('<II', 2, 10**7) + bytes(10**7)) for n in range(9)
    ),
    'rows': element(MATRIX, header(NUMBERS, 2 * 10**9, 0) + element(2, b'')),
    'cells': element(MATRIX, header(CELL, 2 * 10**9, 1)),
    'less than no rows': element(MATRIX, header(NUMBERS, -1, 1) + element(2, b'')),
    'overlapping': element(MATRIX, header(CELL, 1, 2) + overlapping(60)),
}


@pytest.mark.parametrize('name', GREEDY)
def test_no_file_takes_more_than_labels_do(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == 'overlapping':  # which would take seconds to be refused
        monkeypatch.setattr(mat_files, 'MOST_READ', 2**22)
    path = mat(tmp_path / 'setid.mat', GREEDY[name])
    held_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MatFileError, match=rf'^{path}: no labels in a \.mat file, or damaged \('):
        mat4py.loadmat(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held_before < 1_500_000


def test_labels_are_read_as_ever(tmp_path: Path) -> None:
    """Of Flowers102 and of Stanford Cars, as many as these have."""
    path = str(tmp_path / 'a.mat')
    data = {'labels': [n % 102 for n in range(8189)], 'names': ['a.jpg', 'b.jpg']}
    mat4py.savemat(path, data)
    assert mat4py.loadmat(path) == data
    assert mat4py.loadmat(mat(tmp_path / 'b.mat', packed(header(NUMBERS, 1, 3) + element(2, b'\1\2\3')))) == {
        'labels': [1, 2, 3]
    }
    cars = {name: list(range(16185)) for name in ('x1', 'y1', 'x2', 'y2', 'class', 'test')}
    cars['fname'] = [f'{n:05d}.jpg' for n in range(16185)]  # type: ignore[misc]
    mat4py.savemat(path, {'annotations': cars})
    assert mat4py.loadmat(path)['annotations']['fname'][-1] == '16184.jpg'


def test_a_file_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mat4py.loadmat(str(tmp_path / 'a.mat'))


def test_the_data_sets_of_mmpretrain_read_so() -> None:
    from mmpretrain.datasets import dtd, flowers102, stanfordcars

    for module in (dtd, flowers102, stanfordcars):
        assert module.mat4py.loadmat.__wrapped__
