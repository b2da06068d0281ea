"""A reader of pickles that neither imports nor runs what they name.

Beside weights, released files hold an optimizer, an epoch and ``args`` (argparse.Namespace, omegaconf DictConfig),
which ``torch.load(weights_only=True)`` refuses and plain unpickling would import and run. Here a pickle can use only
the names in :data:`RELEASED_NAMES`; every other name becomes :class:`Inert`.
"""

import math
import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmhybrid.utils.unpickling import CountingUnpickler

# Largest number of values, lists and dicts in a file, since a few bytes can nest a list that has the same list twice
# forty levels deep.
MOST_ITEMS = 2**22


class Storage(NamedTuple):
    """A flat array of a file, whose ``offset`` is in elements and whose ``location`` is the device that it was on."""

    dtype: torch.dtype
    key: str
    offset: int
    location: str


def _ignore(*_: object) -> None: ...


class Inert:
    """Stands for everything outside the allow-list; it accepts any construction, call and state without effect."""

    def __new__(cls, *_: object, **__: object) -> Any:
        """Accept any arguments; ``cls`` may itself be an instance that stands for the result of, say, ``getattr``."""
        return object.__new__(cls if isinstance(cls, type) else Inert)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __call__(self, *_: object) -> 'Inert':
        """Accept any arguments."""
        return Inert()

    __setstate__ = __setitem__ = append = extend = add = staticmethod(_ignore)


class StoredDict(dict[Any, Any]):
    """An OrderedDict without attributes."""

    __setstate__ = staticmethod(_ignore)


class StoredTensor(Inert):
    """A tensor that is read only when it is needed, so that those of an optimizer are not read."""

    def __init__(
        self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
    ) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def count(self) -> int:
        """Return the number of values; raise a TypeError if a size is not an int, such as a text that would repeat."""
        if not all(isinstance(number, int) for number in (*self.size, *self.stride, self.offset, self.storage.offset)):
            raise TypeError('a tensor whose sizes are not ints')
        return math.prod(self.size)

    def load(self, read_storage: Callable[[str], bytearray]) -> Tensor:
        """Return the tensor; ``read_storage`` returns the bytes of a storage."""
        data, dtype = read_storage(self.storage.key), self.storage.dtype
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        if self.count() > flat.numel():
            raise ValueError(f'a tensor of the shape {tuple(self.size)} from {flat.numel()} values')
        view = flat.as_strided(self.size, self.stride, self.storage.offset + self.offset)
        return view.clone(memory_format=torch.contiguous_format)


class StoredParameter(Inert):
    """A parameter, which is read as its tensor."""

    def __new__(cls, tensor: StoredTensor, *_: object) -> Any:
        """Return ``tensor``."""
        return tensor


class StoredSubclass(Inert):
    """A tensor with attributes, which is read as the tensor alone."""

    def __new__(cls, build: Callable[..., Any], _kind: object, arguments: tuple[Any, ...], *_: object) -> Any:
        """Return the result of ``build``, as torch does."""
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
    """Stands for a class that weights name but never call, since an instance would be uninitialised memory."""

    def __new__(cls, *_: object) -> Any:
        raise pickle.UnpicklingError('a class that weights only name is called')

    __setstate__ = staticmethod(_ignore)


_ONLY_NAMED = {('torch', 'Tensor'), ('torch.storage', 'UntypedStorage'), ('numpy', 'ndarray')}


class Reader(CountingUnpickler):
    """An unpickler that finds classes in a table instead of importing them; no entry runs code or can be changed."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Return the entry of the table for a name; :class:`Inert` if there is none."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        self.names.add(f'{module}.{name}')
        return _Uncallable if (module, name) in _ONLY_NAMED else RELEASED_NAMES.get((module, name), Inert)

    def persistent_load(self, saved_id: Any) -> Any:
        """Return the storage of a tensor."""
        self._look_at([saved_id])
        if not isinstance(saved_id, tuple) or saved_id[0] != 'storage':
            return Inert()
        dtype, key, location, _numel, *view = saved_id[1:]
        storage = Storage(dtype, key, view[0][1] if view and view[0] else 0, location)
        self.storages[key] = storage
        return storage
