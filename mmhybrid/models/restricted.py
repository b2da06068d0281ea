"""Read checkpoints as ``torch.load(weights_only=True)`` does, where torch cannot be told of MMEngine's classes.

That takes torch 2.6: before, the function refuses what MMEngine's message hub holds. Up to torch 2.9 it believes a file
that says it has more values than it has.
Here the pickle reaches only the names of ``_NAMES``, and any other one is an error. What they stand for is kept as it
is until all of the pickle is read, as in :mod:`mmhybrid.models.pickles`, and then becomes tensors, arrays and buffers.
"""

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmhybrid import compat
from mmhybrid.models.pickles import MOST_ITEMS, RELEASED_NAMES, Inert, Reader, Storage, StoredTensor
from mmhybrid.models.released import open_stored
from mmhybrid.utils.errors import first_line

_BUFFER_PARTS = {'max_length', '_log_history', '_count_history', 'statistics_methods'}
_KINDS = set('biuf')  # of NumPy's dtypes: bool, int, unsigned, float


def read_restricted(path: str, map_location: Any) -> Any:
    """The content of a file that torch wrote.

    Args:
        path: The file.
        map_location: As for ``torch.load``.

    Raises:
        UnpicklingError: If it names a class or function that checkpoints have no use for, is damaged or no file of
            torch, as of what torch reads.
        OSError: If it cannot be opened.
    """
    with Path(path).open('rb') as file:
        try:
            content, read_storage = open_stored(file, _CheckpointReader)
            return _Content(read_storage, map_location).of(content)
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # a damaged pickle may raise nearly anything
            raise pickle.UnpicklingError(f'no file of torch, or damaged ({first_line(error)})') from error


class _Kept(Inert):
    """What a pickle makes an object of: the arguments of its class and its state, neither looked at yet."""

    def __init__(self, *arguments: object) -> None:
        self.arguments: tuple[Any, ...] = arguments
        self.state: Any = None

    def __setstate__(self, state: object) -> None:  # type: ignore[override]
        self.state = state

    def value(self, content: '_Content') -> Any:
        """What it stands for."""
        raise ValueError(f'a {type(self).__name__.removeprefix("_")} by itself')


class _KeptDict(dict[Any, Any]):
    """An OrderedDict; its state is where modules keep their versions."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Bytes(_Kept):
    """Bytes, which the second protocol of pickles writes as text and the name of an encoding."""

    def value(self, content: '_Content') -> bytes:
        text, encoding = self.arguments
        if not isinstance(text, str) or encoding != 'latin1':
            raise ValueError('bytes in another encoding')
        return text.encode('latin1')


class _NoBytes(_Kept):
    """What the second protocol writes for no bytes: the class, called without arguments."""

    def value(self, content: '_Content') -> bytes:
        if self.arguments:
            raise ValueError('bytes by another name')
        return b''


class _Counter(_Kept):
    """A Counter, in which schedulers keep their milestones."""

    def value(self, content: '_Content') -> Counter[Any]:
        counts = content.of(self.arguments[0]) if self.arguments else {}
        if len(self.arguments) > 1 or not isinstance(counts, dict):
            raise ValueError('a Counter of something else than counts')
        return Counter(counts)


class _Dtype(_Kept):
    """A dtype of NumPy; its state has the byte order in the second place."""

    def value(self, content: '_Content') -> np.dtype[Any]:
        name, *_ = self.arguments
        if not isinstance(name, str) or (dtype := np.dtype(name)).kind not in _KINDS:
            raise ValueError(f'an array of {name!r}')
        return dtype if self.state is None or self.state[1] == '|' else dtype.newbyteorder(self.state[1])


class _Array(_Kept):
    """An array of NumPy; its state is (version, shape, dtype, order, bytes)."""

    def value(self, content: '_Content') -> np.ndarray:
        if self.state is None:  # made to be filled, and not filled
            return np.empty(0, np.int8)
        _version, shape, dtype, by_columns, data = (content.of(part) for part in self.state)
        return np.frombuffer(data, dtype).reshape(shape, order='F' if by_columns else 'C').copy()


class _ArrayClass(_Kept):
    """NumPy's class of arrays, which :class:`_Array` takes."""


class _Scalar(_Kept):
    """A scalar of NumPy: its dtype and bytes."""

    def value(self, content: '_Content') -> Any:
        dtype, data = (content.of(part) for part in self.arguments)
        return np.frombuffer(data, dtype, count=1)[0]


class _Buffer(_Kept):
    """MMEngine's history of a logged value."""

    def value(self, content: '_Content') -> HistoryBuffer:
        if not isinstance(self.state, dict) or not self.state.keys() <= _BUFFER_PARTS:
            raise ValueError('a history buffer with other parts than MMEngine gives it')
        buffer, parts = HistoryBuffer(), content.of(self.state)
        parts.pop('statistics_methods', None)  # of the class, which has them already
        buffer.__setstate__(parts)
        return buffer


class _Attribute(_Kept):
    """What ``getattr`` is asked for."""

    def value(self, content: '_Content') -> Any:
        owner, name = self.arguments
        return compat.history_buffer_getattr(HistoryBuffer if owner is _Buffer else owner, name)


class _Content:
    """Makes of what a pickle holds what it stands for."""

    def __init__(self, read_storage: Callable[[str], bytes], map_location: Any) -> None:
        self._read_storage = read_storage
        self._place = torch.serialization._get_restore_location(map_location)  # type: ignore[no-untyped-call]
        self._storages: dict[str, torch.UntypedStorage] = {}
        self._count = 0

    def of(self, item: Any) -> Any:
        """The value of an item, and of all that it holds."""
        self._count += 1
        if self._count > MOST_ITEMS:  # a list of one list twice, of one list twice, ... is a short pickle
            raise ValueError(f'it holds more than {MOST_ITEMS} values, or one within itself')
        if isinstance(item, dict):
            pairs = [(self.of(key), self.of(value)) for key, value in item.items()]
            return self._ordered(pairs, item.state) if isinstance(item, _KeptDict) else dict(pairs)
        if type(item) in (list, tuple):
            return type(item)(self.of(part) for part in item)
        if isinstance(item, StoredTensor):
            return self._tensor(item)
        if isinstance(item, _Kept):
            return item.value(self)
        if isinstance(item, type | Inert):
            raise ValueError(f'{item!r}, which is no value')
        return item

    def _ordered(self, pairs: list[tuple[Any, Any]], state: Any) -> OrderedDict[Any, Any]:
        result = OrderedDict(pairs)
        if isinstance(state, dict) and isinstance(state.get('_metadata'), dict):
            result._metadata = self.of(state['_metadata'])  # type: ignore[attr-defined]
        return result

    def _tensor(self, stored: StoredTensor) -> Tensor:
        storage = self._storage(stored.storage)
        offset = stored.storage.offset + stored.offset
        steps = [(length - 1) * step for length, step in zip(stored.size, stored.stride, strict=True)]
        end = offset + sum(steps) + 1 if all(stored.size) else 0
        if end * stored.storage.dtype.itemsize > storage.nbytes():  # torch would enlarge a storage without bytes
            raise ValueError(f'a tensor of the shape {tuple(stored.size)} from {storage.nbytes()} bytes')
        empty = torch.empty(0, dtype=stored.storage.dtype, device=storage.device)
        return empty.set_(storage, offset, tuple(stored.size), tuple(stored.stride))

    def _storage(self, stored: Storage) -> torch.UntypedStorage:
        """The storage, once for all of its tensors."""
        if stored.key not in self._storages:
            data = bytearray(self._read_storage(stored.key))
            flat = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
            self._storages[stored.key] = self._place(flat.untyped_storage(), stored.location)
        return self._storages[stored.key]


_DTYPES = [name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)]
_NAMES: dict[tuple[str, str], Any] = {
    **RELEASED_NAMES,
    ('collections', 'OrderedDict'): _KeptDict,
    ('collections', 'Counter'): _Counter,
    ('torch', 'Size'): torch.Size,
    ('torch', 'device'): torch.device,
    **{('torch', name): getattr(torch, name) for name in _DTYPES},
    ('_codecs', 'encode'): _Bytes,
    ('builtins', 'getattr'): _Attribute,
    ('builtins', 'bytes'): _NoBytes,
    ('builtins', 'complex'): complex,
    ('builtins', 'set'): set,
    ('mmengine.logging.history_buffer', 'HistoryBuffer'): _Buffer,
    ('numpy', 'dtype'): _Dtype,
    ('numpy', 'ndarray'): _ArrayClass,
    **{  # NumPy 2 renamed the module, and checkpoints outlive it
        (f'numpy.{core}.multiarray', name): kind
        for core in ('_core', 'core')
        for name, kind in (('_reconstruct', _Array), ('scalar', _Scalar))
    },
}


class _CheckpointReader(Reader):
    """Finds what checkpoints need."""

    def find_class(self, module: str, name: str) -> Any:
        """What the table holds under a name; UnpicklingError if nothing."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f'GLOBAL {module}.{name} is not what a checkpoint needs')
        return _NAMES[module, name]
