"""A reader of checkpoints in place of ``torch.load(weights_only=True)``, for versions of torch before 2.10.

Before torch 2.6, that function cannot be told of MMEngine's classes and refuses the contents of its message hub. Before
2.10, it trusts a file that claims to have more values than it has.

Here a pickle can use only the names in ``_NAMES``, and any other name is an error. As in
:mod:`mmhybrid.models.pickles`, objects are only recorded until the whole pickle is read, and then become tensors,
arrays and buffers.
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
    """Return the content of a file that torch wrote.

    Args:
        path: Path of the file.
        map_location: Device of the tensors, as for ``torch.load``.

    Raises:
        UnpicklingError: If the file names a class or function that checkpoints do not need, is damaged, or was not
            written by torch.
        OSError: If the file cannot be opened.
    """
    with Path(path).open('rb') as file:
        try:
            content, read_storage = open_stored(file, _CheckpointReader)
            return _Content(read_storage, map_location).of(content)
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # a damaged pickle may raise almost any error
            raise pickle.UnpicklingError(f'no file of torch, or damaged ({first_line(error)})') from error


class _Kept(Inert):
    """A recorded object of a pickle: the arguments of its class and its state, neither of them converted yet."""

    def __init__(self, *arguments: object) -> None:
        self.arguments: tuple[Any, ...] = arguments
        self.state: Any = None

    def __setstate__(self, state: object) -> None:  # type: ignore[override]
        self.state = state

    def value(self, content: '_Content') -> Any:
        """Return the value of the object."""
        raise ValueError(f'a {type(self).__name__.removeprefix("_")} by itself')


class _KeptDict(dict[Any, Any]):
    """An OrderedDict, whose state has the versions of modules."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Bytes(_Kept):
    """Bytes, which protocol 2 of pickle writes as text and the name of an encoding."""

    def value(self, content: '_Content') -> bytes:
        text, encoding = self.arguments
        if not isinstance(text, str) or encoding != 'latin1':
            raise ValueError('bytes in another encoding')
        return text.encode('latin1')


class _NoBytes(_Kept):
    """Empty bytes, which protocol 2 of pickle writes as a call of the class without arguments."""

    def value(self, content: '_Content') -> bytes:
        if self.arguments:
            raise ValueError('bytes by another name')
        return b''


class _Counter(_Kept):
    """A Counter, which schedulers use for their milestones."""

    def value(self, content: '_Content') -> Counter[Any]:
        counts = content.of(self.arguments[0]) if self.arguments else {}
        if len(self.arguments) > 1 or not isinstance(counts, dict):
            raise ValueError('a Counter of something else than counts')
        return Counter(counts)


class _Dtype(_Kept):
    """A dtype of NumPy, whose state has the byte order as its second item."""

    def value(self, content: '_Content') -> np.dtype[Any]:
        name, *_ = self.arguments
        if not isinstance(name, str) or (dtype := np.dtype(name)).kind not in _KINDS:
            raise ValueError(f'an array of {name!r}')
        return dtype if self.state is None or self.state[1] == '|' else dtype.newbyteorder(self.state[1])


class _Array(_Kept):
    """An array of NumPy, whose state is (version, shape, dtype, whether it is in Fortran order, bytes)."""

    def value(self, content: '_Content') -> np.ndarray:
        if self.state is None:  # an array whose content the pickle does not set
            return np.empty(0, np.int8)
        _version, shape, dtype, by_columns, data = (content.of(part) for part in self.state)
        return np.frombuffer(data, dtype).reshape(shape, order='F' if by_columns else 'C').copy()


class _ArrayClass(_Kept):
    """NumPy's class of arrays, which is an argument of :class:`_Array`."""


class _Scalar(_Kept):
    """A scalar of NumPy, whose arguments are its dtype and bytes."""

    def value(self, content: '_Content') -> Any:
        dtype, data = (content.of(part) for part in self.arguments)
        return np.frombuffer(data, dtype, count=1)[0]


class _Buffer(_Kept):
    """MMEngine's buffer with the history of a logged value."""

    def value(self, content: '_Content') -> HistoryBuffer:
        if not isinstance(self.state, dict) or not self.state.keys() <= _BUFFER_PARTS:
            raise ValueError('a history buffer with other parts than MMEngine gives it')
        buffer, parts = HistoryBuffer(), content.of(self.state)
        parts.pop('statistics_methods', None)  # the class has them already
        buffer.__setstate__(parts)
        return buffer


class _Attribute(_Kept):
    """A call of ``getattr``, which is allowed for the statistics of history buffers."""

    def value(self, content: '_Content') -> Any:
        owner, name = self.arguments
        return compat.history_buffer_getattr(HistoryBuffer if owner is _Buffer else owner, name)


class _Content:
    """Converts the recorded objects of a pickle to their values."""

    def __init__(self, read_storage: Callable[[str], bytes], map_location: Any) -> None:
        self._read_storage = read_storage
        self._place = torch.serialization._get_restore_location(map_location)  # type: ignore[no-untyped-call]
        self._storages: dict[str, torch.UntypedStorage] = {}
        self._count = 0

    def of(self, item: Any) -> Any:
        """Return the value of an item and of everything in it."""
        self._count += 1
        if self._count > MOST_ITEMS:  # a short pickle can nest a list that has the same list twice, and so on
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
            raise ValueError(f'{item!r}, which is not a value')
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
        """Return the storage, which all of its tensors share."""
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
    **{  # both names, since NumPy 2 renamed the module and older checkpoints are read too
        (f'numpy.{core}.multiarray', name): kind
        for core in ('_core', 'core')
        for name, kind in (('_reconstruct', _Array), ('scalar', _Scalar))
    },
}


class _CheckpointReader(Reader):
    """A reader that knows the names in checkpoints of MMEngine."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the entry of the table for a name; raise an UnpicklingError if there is none."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f'GLOBAL {module}.{name} is not what a checkpoint needs')
        return _NAMES[module, name]
