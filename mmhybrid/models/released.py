"""Read the tensors of a released checkpoint without running anything it names.

Released files also hold an optimizer, an epoch and ``args`` (argparse.Namespace, omegaconf DictConfig), which
``torch.load(weights_only=True)`` refuses and plain unpickling would import and run. Here a pickle reaches only the
names of :data:`RELEASED_NAMES`; every other one is :class:`Inert`. Our own checkpoints are loaded with
``weights_only=True``, or by :mod:`mmhybrid.models.restricted`.
"""

import io
import math
import os
import pickle
import struct
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import torch
from torch import Tensor

from mmhybrid.utils.checks import bad_value

STATE_DICT_KEYS = ('model', 'model_ema', 'state_dict')
_ZIP_MAGIC = b'PK\x03\x04'
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Bytes that the tensors of a file may stand for beyond its size: several may be views of the same values.
MOST_SURPLUS = 2**28
# Values, lists and dicts of a file; in a few bytes a list may hold the same list twice, forty levels deep.
MOST_ITEMS = 2**22
# Keys and arguments in a file, counted in the same way.
MOST_LOOKED_AT = 2**20
# Of keys that are ints: larger ones may be chosen so that all have the same hash.
_KEY_BITS = 60
# Keys that are tuples and the like, of which as many as one wants have the same hash.
_MOST_OTHER_KEYS = 2**10


def read_released(path: str | Path, key: str | None = None) -> dict[str, Tensor]:
    """The state dict of a checkpoint file, in torch's zip or legacy format, on the CPU.

    Args:
        path: The file.
        key: Where the state dict is in the file; None for the first of ``model``, ``model_ema`` and ``state_dict``, or
            the file itself where it is a state dict.

    Returns:
        Names, without a leading ``module.``, to tensors.

    Raises:
        ValueError: If the file is not a checkpoint or holds no state dict there.
        OSError: If it cannot be opened.
    """
    if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for without end
        raise ValueError(f'{path} is no file')
    with Path(path).open('rb') as file:
        try:
            content, read_storage = open_stored(file, Reader)
        except Exception as error:  # a damaged pickle may raise nearly anything
            raise ValueError(f'{path} is not a torch checkpoint: {error!r}') from error
        state = _select(content, key)

        @cache
        def storage(key: str) -> bytearray:  # once: a million tensors may be views of it
            return bytearray(read_storage(key))

        try:
            needed = sum(math.prod(tensor.size) * tensor.storage.dtype.itemsize for tensor in state.values())
            if needed > os.fstat(file.fileno()).st_size + MOST_SURPLUS:
                raise ValueError(f'its tensors repeat few values and stand for {needed:.3g} bytes')
            return {name.removeprefix('module.'): tensor.load(storage) for name, tensor in state.items()}
        except Exception as error:  # and so may tensors that do not fit their storage
            raise ValueError(f'{path} holds a damaged tensor: {error!r}') from error


def _select(content: object, key: str | None) -> Mapping[str, 'StoredTensor']:
    if not isinstance(content, Mapping):
        raise ValueError('checkpoint: expected a dict of tensors, found a single object')
    if key is not None and key not in content:
        raise bad_value('key', key, f'one of {sorted(map(str, content))[:10]}')
    keys = [name for name in STATE_DICT_KEYS if name in content] if key is None else [key]
    state = content[keys[0]] if keys else content
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f'checkpoint: {keys[0] if keys else "the file"} holds no dict of tensors')
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, StoredTensor):
            raise ValueError(f'checkpoint: the entry {name!r} is not a tensor')
        if f'module.{name}' in state:
            raise ValueError(f'checkpoint: {name!r} is there with and without a leading module.')
    return state


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


def open_stored(file: BinaryIO, reader: type[Reader]) -> tuple[object, Callable[[str], bytes]]:
    """The content of a file of torch as ``reader`` reads it, and how to read a storage; any error may be raised."""
    is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    file.seek(0)
    return _open_zip(file, reader) if is_zip else _open_legacy(file, reader)


def _open_zip(file: BinaryIO, reader: type[Reader]) -> tuple[object, Callable[[str], bytes]]:
    """Open torch's format since 1.6: a zip of a pickle and the storages."""
    archive = zipfile.ZipFile(file)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise ValueError('compressed entries, which torch does not write and which may be of any size')
    root = next(name for name in archive.namelist() if name.endswith('/data.pkl')).removesuffix('data.pkl')
    if f'{root}byteorder' in archive.namelist() and archive.read(f'{root}byteorder') != b'little':
        raise ValueError('big-endian data')
    with archive.open(f'{root}data.pkl') as stream:
        content = reader(stream).load()
    return content, lambda key: archive.read(f'{root}data/{key}')


def names_in(path: str | Path) -> set[str]:
    """The classes and functions that a checkpoint names, found without one of them.

    Raises:
        UnpicklingError: If it is none, or has tensors without values, which torch would read as memory that it finds.
    """
    with Path(path).open('rb') as file:
        is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        file.seek(0)
        try:
            if is_zip:  # what torch itself reads, of several entries of that name too
                reader = Reader(io.BytesIO(torch._C.PyTorchFileReader(str(path)).get_record('data.pkl')))
                reader.load()
                return reader.names
            head = [Reader(file) for _ in range(3)]
            magic, *_ = [part.load() for part in head]
            if magic != _LEGACY_MAGIC:
                raise ValueError('no magic number of torch')
            reader, keys = Reader(file), Reader(file)
            reader.load()
            missing = reader.storages.keys() - _storage_keys(keys)
        except Exception as error:  # a damaged pickle may raise nearly anything
            raise pickle.UnpicklingError(str(error)) from error
    if missing:
        raise pickle.UnpicklingError(f'no values of {min(missing)}')
    return set().union(*(part.names for part in (*head, reader, keys)))


def _storage_keys(reader: Reader) -> list[str]:
    """The keys of the storages, which the older format lists."""
    keys = reader.load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError('keys of storages that are none')
    return keys


def _open_legacy(file: BinaryIO, reader: type[Reader]) -> tuple[object, Callable[[str], bytes]]:
    """Open the format before zip: magic number, version, system, content, storage keys, storages."""
    magic, _version, _system = (reader(file).load() for _ in range(3))
    if magic != _LEGACY_MAGIC:
        raise ValueError('no magic number of torch')
    main = reader(file)
    content = main.load()
    storages = {}
    for key in _storage_keys(reader(file)):
        (numel,) = struct.unpack('<q', file.read(8))
        storages[key] = file.read(numel * main.storages[key].dtype.itemsize)
    return content, storages.__getitem__
