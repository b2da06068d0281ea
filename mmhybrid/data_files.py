"""Pickles and YAML of annotations, proposals and results, read without running what they name.

OpenMMLab reads them with :mod:`pickle` and an unsafe loader of YAML, both of which call whatever function a
file asks for. :mod:`mmhybrid.compat` has them read with this, which reaches the names of ``_NAMES`` alone. What is
dumped stays as it was. This file is a long one, since what a pickle may hold is decided in one place.
"""

import io
import pickle
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, BinaryIO, ClassVar, TextIO

import numpy as np
import yaml

from mmhybrid.utils.errors import first_line
from mmhybrid.utils.unpickling import KEY_BITS, MOST_LOOKED_AT, CountingUnpickler

ALLOWED = 'dicts, lists, tuples, sets, text, numbers, NumPy arrays, torch tensors, InstanceData, masks and boxes'
ALLOWED_YAML = 'mappings, sequences, tuples, sets, text, numbers and dates'
_DTYPE = re.compile(r'[<>=|]?([biufcSUO]\d*|\?)')
_YAML_TAGS = 'tag:yaml.org,2002:'
_NPY_MAGIC = b'\x93NUMPY'
_PLAIN = (str, int, float, bytes, bool, type(None))
# How often the values of a storage may be there in tensors, for each of which torch writes a storage of its own.
_MOST_VIEWS = 4
# Keys, arguments and their bytes that a pickle may have for each of its own bytes.
_TIMES_LOOKED_AT = 4
# Characters of a number in YAML: 1:1:1 and so on is one to the base 60, whose time grows with their square.
_LONGEST_NUMBER = 400
# Entries that mappings in YAML take over from others (<<).
_MOST_MERGED = 2**20


class UnsafeDataError(ValueError):
    """A file of data that asks for more than data, or is damaged."""


def load(
    file: BinaryIO, *, fix_imports: bool = True, encoding: str = 'ASCII', errors: str = 'strict', buffers: object = None
) -> Any:
    """The content of a pickle, in the place of ``pickle.load``.

    Args:
        file: Of bytes.
        fix_imports: Of ``pickle.load``; names of Python 2 are always known.
        encoding: Of the texts of Python 2.
        errors: What is done where the encoding fails.
        buffers: Of ``pickle.load``; pickles that need some are refused.

    Raises:
        UnsafeDataError: If it names a class or a function that data have no use for, or is damaged.
    """
    try:
        reader = _Reader(file, encoding, errors)
        content = reader.load()
        return _Finished().of(content) if reader.has_kept else content
    except UnsafeDataError:
        raise
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise UnsafeDataError(f'no pickle of data, or damaged ({first_line(error)}); read are {ALLOWED}') from error


def loads(
    data: bytes, *, fix_imports: bool = True, encoding: str = 'ASCII', errors: str = 'strict', buffers: object = None
) -> Any:
    """What :func:`load` returns, of bytes, in the place of ``pickle.loads``."""
    return load(io.BytesIO(data), encoding=encoding, errors=errors)


def load_array(path: str, allow_pickle: bool = False) -> Any:
    """An array of a ``.npy`` file or of a pickle, in the place of ``np.load`` where that may unpickle anything."""
    with open(path, 'rb') as file:
        is_npy = file.read(len(_NPY_MAGIC)) == _NPY_MAGIC
        file.seek(0)
        try:
            return np.load(file, allow_pickle=False) if is_npy else load(file, encoding='latin1')
        except ValueError as error:
            raise UnsafeDataError(f'{path}: {error}') from error


def load_yaml(file: TextIO, **kwargs: Any) -> Any:
    """The content of a YAML file, in the place of what MMEngine's handler does; a loader that code names is taken.

    Raises:
        UnsafeDataError: If a tag asks for a class or a function.
    """
    return yaml.load(file, **{'Loader': _PlainLoader, **kwargs})


class _PlainLoader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):  # type: ignore[misc]
    """Makes plain values, and the tuples that MMEngine writes of a config."""

    merged = 0

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """What it is of; UnsafeDataError for keys that are not scalars: a tuple may hold one twice, and so on."""
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise UnsafeDataError(f'a key in line {key.start_mark.line + 1} that is not text, a number or a date')
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if any(isinstance(key, int) and key.bit_length() > KEY_BITS for key in made):
            raise UnsafeDataError(f'a key in line {node.start_mark.line + 1} that is a number beyond all counts')
        return made

    def flatten_mapping(self, node: Any) -> None:
        """Put the entries of others (<<) into a mapping; UnsafeDataError for more of them than data have."""
        before = len(node.value)
        super().flatten_mapping(node)
        self.merged += max(0, len(node.value) - before)
        if self.merged > _MOST_MERGED:
            raise UnsafeDataError(f'more than {_MOST_MERGED} entries by << in line {node.start_mark.line + 1}')

    def construct_number(self, node: Any) -> Any:
        """An int or a float; UnsafeDataError for one that is longer than any."""
        if len(node.value) > _LONGEST_NUMBER:
            raise UnsafeDataError(
                f'a number of {len(node.value)} characters in line {node.start_mark.line + 1}, allowed: at most '
                f'{_LONGEST_NUMBER}'
            )
        is_int = node.tag == f'{_YAML_TAGS}int'
        return self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)


def _refuse_tag(loader: Any, node: Any) -> None:
    tag = str(node.tag).replace(_YAML_TAGS, '!!')
    raise UnsafeDataError(f'the tag {tag} in line {node.start_mark.line + 1}; read are {ALLOWED_YAML}')


_PlainLoader.add_constructor(None, _refuse_tag)
for _kind in ('int', 'float'):
    _PlainLoader.add_constructor(f'{_YAML_TAGS}{_kind}', _PlainLoader.construct_number)
_PlainLoader.add_constructor(
    f'{_YAML_TAGS}python/tuple', lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)
_PlainLoader.add_constructor(f'{_YAML_TAGS}python/complex', lambda loader, node: complex(node.value))


class _Function:
    """What a pickle may call; nothing that a pickle does to it changes it."""

    __slots__ = ('_call',)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise TypeError('a state of a function')


class _Dtype:
    """A dtype of NumPy, of whose state the byte order alone is taken: the rest could call numbers objects."""

    __slots__ = ('value',)

    def __init__(self, code: object, *_: object) -> None:
        name = code.decode('latin1') if isinstance(code, bytes) else code
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise ValueError(f'a NumPy array of {name[:20] if isinstance(name, str) else type(code).__name__}')
        self.value = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ('>', b'>'):
            self.value = self.value.newbyteorder('>')


class _Array:
    """An array of NumPy; its state is (version, shape, dtype, order, values)."""

    __slots__ = ('value',)

    def __init__(self, *_: object) -> None:
        self.value = np.empty(0, np.int8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, by_columns, values = state
        array = _array(values, dtype, shape, 'F' if by_columns else 'C')
        self.value = array.astype(array.dtype.newbyteorder('='), copy=False)  # as NumPy makes of this machine


class _Kept:
    """What is made by a class of OpenMMLab, whose state is kept until it is known to be data."""

    __slots__ = ('state',)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def made(self, of: Callable[[Any], Any]) -> Any:
        """The object; ``of`` gives the values of what is in the state."""
        raise NotImplementedError


class _Instances(_Kept):
    """InstanceData of MMEngine, in which MMDetection keeps proposals."""

    def made(self, of: Callable[[Any], Any]) -> Any:
        """See :class:`_Kept`."""
        fields, metas_of = (set(self.state[f'_{kind}_fields']) for kind in ('data', 'metainfo'))
        if not all(isinstance(name, str) for name in fields | metas_of):
            raise TypeError('fields whose names are not text')
        metas = {name: of(self.state[name]) for name in metas_of}
        value = import_module('mmengine.structures').InstanceData(metainfo=metas)
        for name in sorted(fields):
            value.set_field(of(self.state[name]), name)
        return value


class _Bitmaps(_Kept):
    """Masks of MMDetection as arrays."""

    def made(self, of: Callable[[Any], Any]) -> Any:
        """See :class:`_Kept`."""
        masks, size = of(self.state['masks']), [int(self.state[side]) for side in ('height', 'width')]
        if not isinstance(masks, np.ndarray) or masks.dtype.hasobject or masks.ndim != 3:
            raise TypeError('masks that are not an array of numbers')
        return import_module('mmdet.structures.mask').BitmapMasks(masks, *size)


class _Polygons(_Kept):
    """Masks of MMDetection as polygons."""

    def made(self, of: Callable[[Any], Any]) -> Any:
        """See :class:`_Kept`."""
        masks, size = of(self.state['masks']), [int(self.state[side]) for side in ('height', 'width')]
        if not all(isinstance(polygon, np.ndarray) for mask in masks for polygon in mask):
            raise TypeError('polygons that are not arrays')
        return import_module('mmdet.structures.mask').PolygonMasks(masks, *size)


class _Boxes(_Kept):
    """Boxes of MMDetection."""

    def made(self, of: Callable[[Any], Any]) -> Any:
        """See :class:`_Kept`."""
        boxes = of(self.state['tensor'])
        if type(boxes) is not import_module('torch').Tensor:
            raise TypeError('boxes that are not a tensor')
        return import_module('mmdet.structures.bbox').HorizontalBoxes(boxes, clone=False)


def _array(values: Any, dtype: object, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise TypeError(f'a NumPy array of {type(dtype).__name__}')
    if dtype.value.hasobject:
        if not isinstance(values, list):
            raise TypeError('objects that are not a list')
        flat = np.empty(len(values), object)
        for place, value in enumerate(values):
            flat[place] = value
    else:
        data = values.encode('latin1') if isinstance(values, str) else bytes(values)
        # no bytes may be the values of any type
        flat = np.frombuffer(data, dtype.value).copy() if data else np.empty(0, dtype.value)
    return flat.reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]


def _scalar(dtype: object, data: object = b'') -> Any:
    if not isinstance(data, bytes | str):
        raise TypeError('a number of NumPy that is not bytes')
    return _array(data, dtype, -1, 'C')[0] if data else dtype.value.type()  # type: ignore[attr-defined]


def _bytes(text: str, encoding: str) -> bytes:
    """Bytes, which the second protocol of pickles writes as text and the name of an encoding."""
    if encoding != 'latin1':
        raise ValueError('bytes in another encoding')
    return text.encode('latin1')


def _no_bytes(*arguments: object) -> bytes:
    """What the second protocol writes for no bytes: the class, called without arguments."""
    if arguments:
        raise ValueError('bytes by another name')
    return b''


def _bytearray(data: object = b'') -> bytearray:
    if not isinstance(data, bytes):
        raise TypeError('a bytearray of something else than bytes')
    return bytearray(data)


@dataclass
class _Values:
    """The storage of a tensor.

    Args:
        stored: What it is of.
        data: Its bytes.
        left: Values that tensors may still take of it, each of which gets its own.
    """

    stored: Any
    data: bytearray
    left: int


def _storage(data: bytes) -> _Values:
    """The storage of a tensor, a file of torch for itself."""
    pickles, released = import_module('mmhybrid.models.pickles'), import_module('mmhybrid.models.released')
    stored, read_storage = released.open_stored(io.BytesIO(data), pickles.Reader)
    if not isinstance(stored, pickles.Storage):
        raise TypeError('a tensor whose values are none')
    values = bytearray(read_storage(stored.key))
    return _Values(stored, values, _MOST_VIEWS * (1 + len(values) // stored.dtype.itemsize))


def _tensor(storage: _Values, offset: int, size: Any, stride: Any, *_: object) -> Any:
    tensor = import_module('mmhybrid.models.pickles').StoredTensor(storage.stored, offset, tuple(size), tuple(stride))
    storage.left -= tensor.count()
    if storage.left < 0:
        raise ValueError(f'tensors that take the values of a storage more than {_MOST_VIEWS} times')
    return tensor.load(lambda _: storage.data)


def _set(kind: type, items: object = ()) -> Any:
    if not isinstance(items, list | tuple):  # whose items the reader has looked at
        raise TypeError(f'a {kind.__name__} of something else than a list')
    return kind(items)


_NAMES: dict[tuple[str, str], Any] = {
    **{('builtins', kind.__name__): _Function(partial(_set, kind)) for kind in (set, frozenset)},
    ('builtins', 'complex'): complex,  # which is in C, so that no pickle can change it
    ('builtins', 'bytes'): _Function(_no_bytes),
    ('builtins', 'bytearray'): _Function(_bytearray),
    ('collections', 'OrderedDict'): _Function(partial(_set, OrderedDict)),
    ('_codecs', 'encode'): _Function(_bytes),
    ('numpy', 'dtype'): _Function(_Dtype),
    ('numpy', 'ndarray'): _Function(_Array),
    **{  # NumPy 2 renamed the modules, and pickles outlive them
        (f'numpy.{core}.{module}', name): _Function(call)
        for core in ('_core', 'core')
        for module, name, call in (
            ('multiarray', '_reconstruct', _Array),
            ('multiarray', 'scalar', _scalar),
            ('numeric', '_frombuffer', lambda data, dtype, shape, order: _array(data, dtype, shape, order)),
        )
    },
    ('torch.storage', '_load_from_bytes'): _Function(_storage),
    ('torch._utils', '_rebuild_tensor_v2'): _Function(_tensor),
    ('mmengine.structures.instance_data', 'InstanceData'): _Instances,
    ('mmdet.structures.mask.structures', 'BitmapMasks'): _Bitmaps,
    ('mmdet.structures.mask.structures', 'PolygonMasks'): _Polygons,
    ('mmdet.structures.bbox.horizontal_boxes', 'HorizontalBoxes'): _Boxes,
}
_KEPT = ('numpy', 'mmengine', 'mmdet')


class _Reader(CountingUnpickler):
    """Finds what data need, and never by importing it.

    Args:
        file: Of bytes.
        encoding: Of the texts of Python 2.
        errors: What is done where the encoding fails.
    """

    has_kept = False
    most_other_keys = 2**13
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(CountingUnpickler.dispatch)

    def __init__(self, file: BinaryIO, encoding: str, errors: str) -> None:
        here = file.tell()
        self._end = file.seek(0, io.SEEK_END)
        file.seek(here)
        self.most_looked_at = MOST_LOOKED_AT + _TIMES_LOOKED_AT * (self._end - here)
        self._file = file
        super().__init__(file, encoding=encoding, errors=errors)

    def weight(self, item: object) -> int:
        """Its bytes: one of a megabyte may be the values of any number of arrays."""
        if isinstance(item, str | bytes | bytearray):
            return 1 + len(item)
        return 1 + item.bit_length() // 64 if isinstance(item, int) else 1

    def is_plain_key(self, key: object) -> bool:
        """Numbers of NumPy are plain as well."""
        return super().is_plain_key(key) or isinstance(key, np.integer | np.floating | np.bool_)

    def _look_at_keys(self, keys: Sequence[object]) -> None:
        if not all(type(key) is str for key in keys):  # most are, and are hashed once
            super()._look_at_keys(keys)

    def load_bytearray8(self) -> None:
        """Of as many bytes as there are."""
        size = int.from_bytes(self.read(8), 'little')
        if size > self._end:
            raise ValueError('a bytearray that is longer than the file')
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def find_class(self, module: str, name: str) -> Any:
        """What the table holds under a name; UnsafeDataError if nothing."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        if (module, name) not in _NAMES:
            raise UnsafeDataError(f'a pickle that names {module}.{name}; read are {ALLOWED}')
        self.has_kept |= module.startswith(_KEPT)
        return _NAMES[module, name]


class _Finished:
    """Puts what pickles stand for in the place of what was kept of them."""

    def __init__(self) -> None:
        # with what it was made of, which no other object may take the number of
        self._known: dict[int, tuple[Any, Any]] = {}

    def of(self, item: Any) -> Any:
        """The value of an item; lists, dicts and sets are changed in place."""
        if type(item) in _PLAIN:
            return item
        if id(item) in self._known:
            return self._known[id(item)][1]
        value = item.value if isinstance(item, _Array | _Dtype) else item
        self._known[id(item)] = (item, value)
        if isinstance(item, tuple | frozenset):
            value = type(item)(self.of(part) for part in item)
        elif isinstance(item, _Kept):
            value = item.made(self.of)
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            flat = value.reshape(-1)
            for place, part in enumerate(flat):
                flat[place] = self.of(part)
        elif isinstance(item, list):
            item[:] = [self.of(part) for part in item]
        elif isinstance(item, dict):
            parts = [(self.of(key), self.of(part)) for key, part in item.items()]
            item.clear()
            item.update(parts)
        elif isinstance(item, set):
            parts = [self.of(part) for part in item]
            item.clear()
            item.update(parts)
        elif isinstance(item, type | _Function):
            raise TypeError('a class or a function as a value')
        self._known[id(item)] = (item, value)
        return value
