"""Pickles read without importing or running what they name.

Released files hold an optimizer, an epoch and ``args`` (argparse.Namespace, omegaconf DictConfig) beside weights, which
``torch.load(weights_only=True)`` refuses and plain unpickling would import and run. Here a pickle reaches only the
names of :data:`RELEASED_NAMES`; every other one is :class:`Inert`.
"""

import math
import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

# Values, lists and dicts of a file; in a few bytes a list may hold the same list twice, forty levels deep.
MOST_ITEMS = 2**22
# Keys and arguments in a file, counted in the same way.
MOST_LOOKED_AT = 2**20
# Of keys that are ints: larger ones may be chosen so that all have the same hash.
_KEY_BITS = 60
# Keys that are tuples and the like, of which as many as one wants have the same hash.
_MOST_OTHER_KEYS = 2**10


class Storage(NamedTuple):
    """A flat array of the file; ``offset`` in elements, ``location`` the device it was on."""

    dtype: torch.dtype
    key: str
    offset: int
    location: str


def _ignore(*_: object) -> None: ...


class Inert:
    """Stands for whatever a pickle names beyond the allow-list: any construction, call and state, and no effect."""

    def __new__(cls, *_: object, **__: object) -> Any:
        """Whatever the class would take; it may itself stand for what a call, such as ``getattr``, has returned."""
        return object.__new__(cls if isinstance(cls, type) else Inert)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __call__(self, *_: object) -> 'Inert':
        """Whatever the function would take."""
        return Inert()

    __setstate__ = __setitem__ = append = extend = add = staticmethod(_ignore)


class StoredDict(dict[Any, Any]):
    """An OrderedDict without attributes."""

    __setstate__ = staticmethod(_ignore)


class StoredTensor(Inert):
    """A tensor that is read when it is asked for, so that an optimizer's are not."""

    def __init__(
        self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
    ) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def load(self, read_storage: Callable[[str], bytearray]) -> Tensor:
        """The tensor; ``read_storage`` returns the bytes of a storage."""
        data, dtype = read_storage(self.storage.key), self.storage.dtype
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        if math.prod(self.size) > flat.numel():
            raise ValueError(f'a tensor of the shape {tuple(self.size)} from {flat.numel()} values')
        view = flat.as_strided(self.size, self.stride, self.storage.offset + self.offset)
        return view.clone(memory_format=torch.contiguous_format)


class StoredParameter(Inert):
    """A parameter is its tensor."""

    def __new__(cls, tensor: StoredTensor, *_: object) -> Any:
        """``tensor`` itself."""
        return tensor


class StoredSubclass(Inert):
    """A tensor with attributes is the tensor."""

    def __new__(cls, build: Callable[..., Any], _kind: object, arguments: tuple[Any, ...], *_: object) -> Any:
        """What ``build`` makes, which torch calls too."""
        return build(*arguments)


_STORAGES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}
RELEASED_NAMES: dict[tuple[str, str], Any] = {
    ('collections', 'OrderedDict'): StoredDict,
    ('torch._utils', '_rebuild_tensor'): StoredTensor,
    ('torch._utils', '_rebuild_tensor_v2'): StoredTensor,
    ('torch._utils', '_rebuild_parameter'): StoredParameter,
    ('torch._tensor', '_rebuild_from_type_v2'): StoredSubclass,
    **{('torch', name): dtype for name, dtype in _STORAGES.items()},
}


class _Uncallable:
    """Stands for a class that weights only name: an instance would be memory as it was left by others."""

    def __new__(cls, *_: object) -> Any:
        raise pickle.UnpicklingError('a class that weights only name is called')

    __setstate__ = staticmethod(_ignore)


_ONLY_NAMED = {('torch', 'Tensor'), ('torch.storage', 'UntypedStorage'), ('numpy', 'ndarray')}


class Reader(pickle._Unpickler):
    """Finds classes in a table, never by importing; nothing that the table holds runs code or can be changed.

    Of Python's two unpicklers it is the one in Python: that in C takes memory for as many objects as a file claims.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)  # type: ignore[arg-type]

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding='latin1')
        self.storages: dict[str, Storage] = {}
        self.names: set[str] = set()
        self._left = MOST_LOOKED_AT
        self._other_keys_left = _MOST_OTHER_KEYS

    def _look_at(self, values: Iterable[object]) -> None:
        """Raise UnpicklingError once keys and arguments so far are more than a file has.

        Whatever hashes, converts or compares them would go through a tuple as often as it is there.
        """
        left = list(values)
        while left:
            item = left.pop()
            self._left -= 1
            if isinstance(item, Mapping):
                left += item.values()
            elif isinstance(item, list | tuple | set | frozenset):
                left += item
            if self._left < len(left):
                raise pickle.UnpicklingError(f'more than {MOST_LOOKED_AT} keys and arguments, or one within itself')

    def _look_at_keys(self, keys: Sequence[object]) -> None:
        self._look_at(keys)
        if any(isinstance(key, int) and key.bit_length() > _KEY_BITS for key in keys):
            raise pickle.UnpicklingError('a key that is a number beyond all counts')
        self._count_others(keys)

    def _look_at_arguments(self) -> None:
        """Look at what a class or function gets, which may make keys of what is in it: a set, an ordered dict."""
        self._look_at(self.stack[-1:])
        arguments = self.stack[-1] if isinstance(self.stack[-1], tuple) else ()
        for items in (argument for argument in arguments if type(argument) in (list, tuple)):
            self._count_others([item for item in items if not isinstance(item, list)])
            self._count_others([item[0] for item in items if isinstance(item, list | tuple) and item])

    def _count_others(self, keys: Iterable[object]) -> None:
        for key in keys:
            is_plain = key is None or isinstance(key, str | bytes | float)
            if not is_plain and not (isinstance(key, int) and key.bit_length() <= _KEY_BITS):
                self._other_keys_left -= 1
        if self._other_keys_left < 0:
            raise pickle.UnpicklingError(f'more than {_MOST_OTHER_KEYS} keys and arguments that are no names or counts')

    def find_class(self, module: str, name: str) -> Any:
        """What the table holds under a name; :class:`Inert` if nothing."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        self.names.add(f'{module}.{name}')
        return _Uncallable if (module, name) in _ONLY_NAMED else RELEASED_NAMES.get((module, name), Inert)

    def persistent_load(self, saved_id: Any) -> Any:
        """The storage that a tensor is a view of."""
        self._look_at([saved_id])
        if not isinstance(saved_id, tuple) or saved_id[0] != 'storage':
            return Inert()
        dtype, key, location, _numel, *view = saved_id[1:]
        storage = Storage(dtype, key, view[0][1] if view and view[0] else 0, location)
        self.storages[key] = storage
        return storage


def _watch(code: bytes, look: Callable[[Reader], None]) -> None:
    """Have a reader look at what is on its stack before an operation of pickles takes it from there."""
    operate = Reader.dispatch[code[0]]

    def watched(reader: Reader) -> None:
        look(reader)
        operate(reader)

    Reader.dispatch[code[0]] = watched


# one takes memory before there is anything to put into it, and torch writes none of them
for _code in (pickle.BYTEARRAY8, pickle.INST, pickle.OBJ):
    del Reader.dispatch[_code[0]]
for _code in (pickle.REDUCE, pickle.NEWOBJ):
    _watch(_code, lambda reader: reader._look_at_arguments())
_watch(pickle.BUILD, lambda reader: reader._look_at(reader.stack[-1:]))
_watch(pickle.NEWOBJ_EX, lambda reader: reader._look_at(reader.stack[-2:]))
_watch(pickle.SETITEM, lambda reader: reader._look_at_keys(reader.stack[-2:-1]))
for _code in (pickle.SETITEMS, pickle.DICT):  # what is behind the mark
    _watch(_code, lambda reader: reader._look_at_keys(reader.stack[::2]))
for _code in (pickle.ADDITEMS, pickle.FROZENSET):
    _watch(_code, lambda reader: reader._look_at_keys(reader.stack))
