"""Labels in .mat files, which MMPretrain reads with mat4py: Flowers102, Stanford Cars, DTD.

mat4py unpacks what is compressed whole, makes as many rows as a header says, and may read one part of a file as many
matrices, each within another. :func:`bound` has it count what it reads.
"""

import os
import sys
import zlib
from collections.abc import Sequence, Sized
from functools import wraps
from types import ModuleType, SimpleNamespace
from typing import Any

from mmhybrid.utils.errors import first_line
from mmhybrid_autoload import Execute, around_import

READER = 'mat4py.loadmat'
# Bytes, values and rows of a file together: three times those of Stanford Cars, which has the most of these data sets.
MOST_READ = 2**26
# As how many of these a matrix counts, for the time that its header takes; Stanford Cars has 113,295.
MATRIX = 128


class MatFileError(ValueError):
    """A .mat file that is damaged, or asks for more than labels do."""


class _Counter:
    """What may still be read of a file."""

    def __init__(self) -> None:
        self.left = MOST_READ

    def take(self, count: int) -> None:
        """Note that so much is read; MatFileError if it is too much."""
        self.left -= count
        if self.left < 0:
            raise MatFileError(f'more than {MOST_READ} bytes, values and rows, unpacked')


class _Unpacker:
    """What ``zlib.decompressobj`` returns, which unpacks no more than the file may have."""

    def __init__(self, counter: _Counter) -> None:
        self._counter = counter
        self._unpacker = zlib.decompressobj()

    def decompress(self, data: bytes) -> bytes:
        """Unpack; MatFileError if it is too much."""
        unpacked = self._unpacker.decompress(data, self._counter.left + 1)
        self._counter.take(len(unpacked))
        return unpacked

    def flush(self) -> bytes:
        """Return what is left, which is nothing of a sound file."""
        return self._unpacker.flush() if self._unpacker.eof else b'\0'


def bound() -> None:
    """Let mat4py, now or when it is imported, read files of labels alone; again is harmless.

    Cause: MMPretrain reads .mat files that a config names as data with it. Its memory and time have no bounds: 300
    kilobytes took 20 gigabytes.
    Can go when mat4py bounds them, or MMPretrain reads them otherwise.
    """
    if READER in sys.modules:
        _mend(sys.modules[READER])
        vars(sys.modules['mat4py'])['loadmat'] = sys.modules[READER].loadmat
    else:
        around_import(READER, _mend)


def _mend(module: ModuleType, execute: Execute | None = None) -> None:
    if execute is not None:
        execute(module)
    names = vars(module)
    if hasattr(names['loadmat'], '__wrapped__'):
        return
    loadmat, read_elements, read_header = (names[name] for name in ('loadmat', 'read_elements', 'read_header'))
    counters = [_Counter()]

    @wraps(read_elements)
    def counted_elements(*arguments: Any, **options: Any) -> Any:
        found = read_elements(*arguments, **options)
        counters[-1].take(1 + (len(found) if isinstance(found, Sized) else 0))
        return found

    @wraps(read_header)
    def counted_header(*arguments: Any) -> Any:
        header = read_header(*arguments)
        sizes = header['dims']
        if not isinstance(sizes, Sequence) or min(sizes) < 0:
            raise MatFileError(f'a matrix of the sizes {sizes!r}')
        counters[-1].take(sizes[0] + MATRIX)
        return header

    @wraps(loadmat)
    def counted(filename: Any, meta: bool = False) -> Any:
        counters.append(_Counter())
        try:
            if isinstance(filename, str):
                counters[-1].take(os.stat(filename).st_size)
            return loadmat(filename, meta)
        except OSError:
            raise
        except Exception as error:  # mat4py raises nearly anything for a damaged file
            raise MatFileError(f'{filename}: no labels in a .mat file, or damaged ({first_line(error)})') from error
        finally:
            counters.pop()

    names['zlib'] = SimpleNamespace(decompressobj=lambda: _Unpacker(counters[-1]))
    names.update(loadmat=counted, read_elements=counted_elements, read_header=counted_header)
