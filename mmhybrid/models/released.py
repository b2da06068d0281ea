"""A reader of released checkpoints, which are files of torch in its zip or legacy format, that runs nothing in them.

MMEngine's checkpoints are loaded with ``weights_only=True`` or by :mod:`mmhybrid.models.restricted`. For the former,
:func:`names_in` first finds the names that they use.
"""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from mmhybrid.models.pickles import Reader, StoredTensor
from mmhybrid.utils.checks import bad_value

STATE_DICT_KEYS = ('model', 'model_ema', 'state_dict')
_ZIP_MAGIC = b'PK\x03\x04'
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Largest number of bytes by which the tensors of a file may exceed its size; several may be views of the same values.
MOST_SURPLUS = 2**28


def read_released(path: str | Path, key: str | None = None) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint file in torch's zip or legacy format, on the CPU.

    Args:
        path: Path of the file.
        key: Key of the state dict in the file; None for the first of ``model``, ``model_ema`` and ``state_dict`` that
            the file has, or for the whole file if it has none of them.

    Returns:
        Tensors by their names, without a leading ``module.``.

    Raises:
        ValueError: If the file is not a checkpoint, or has no state dict under the key.
        OSError: If the file cannot be opened.
    """
    if Path(path).exists() and not Path(path).is_file():  # reading a pipe could block forever
        raise ValueError(f'{path} is not a file')
    with Path(path).open('rb') as file:
        try:
            content, read_storage = open_stored(file, Reader)
        except Exception as error:  # a damaged pickle may raise almost any error
            raise ValueError(f'{path} is not a torch checkpoint: {error!r}') from error
        state = _select(content, key)

        @cache
        def storage(key: str) -> bytearray:  # cached, since a million tensors may be views of one storage
            return bytearray(read_storage(key))

        try:
            needed = sum(tensor.count() * tensor.storage.dtype.itemsize for tensor in state.values())
            if needed > os.fstat(file.fileno()).st_size + MOST_SURPLUS:
                raise ValueError(f'its tensors repeat few values and stand for {needed:.3g} bytes')
            return {name.removeprefix('module.'): tensor.load(storage) for name, tensor in state.items()}
        except Exception as error:  # tensors that do not fit their storage may also raise almost any error
            raise ValueError(f'{path} holds a damaged tensor: {error!r}') from error


def _select(content: object, key: str | None) -> Mapping[str, StoredTensor]:
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


def open_stored(file: BinaryIO, reader: type[Reader]) -> tuple[object, Callable[[str], bytes]]:
    """Return the content of a file of torch and a function that reads a storage; any error may be raised."""
    is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    file.seek(0)
    return _open_zip(file, reader) if is_zip else _open_legacy(file, reader)


def _open_zip(file: BinaryIO, reader: type[Reader]) -> tuple[object, Callable[[str], bytes]]:
    """Open the format of torch since 1.6: a zip archive of a pickle and the storages."""
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
    """Return the names of the classes and functions in a checkpoint, without importing any of them.

    Raises:
        UnpicklingError: If the file is not a checkpoint, or has tensors without values, for which torch would return
            uninitialised memory.
    """
    with Path(path).open('rb') as file:
        is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        file.seek(0)
        try:
            if is_zip:  # read by torch itself, since an archive may have several entries of that name
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
        except Exception as error:  # a damaged pickle may raise almost any error
            raise pickle.UnpicklingError(str(error)) from error
    if missing:
        raise pickle.UnpicklingError(f'no values of {min(missing)}')
    return set().union(*(part.names for part in (*head, reader, keys)))


def _storage_keys(reader: Reader) -> list[str]:
    """Return the keys of the storages, which the legacy format lists."""
    keys = reader.load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError('keys of storages that are none')
    return keys


def _open_legacy(file: BinaryIO, reader: type[Reader]) -> tuple[object, Callable[[str], bytes]]:
    """Open the legacy format: magic number, version, system, content, keys of storages, storages."""
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
