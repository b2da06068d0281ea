"""Released checkpoints: files of torch, in its zip and its legacy format, of which nothing is run.

Our own checkpoints are loaded with ``weights_only=True``, or by :mod:`mmhybrid.models.restricted`; what either names is
looked at here before.
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
# Bytes that the tensors of a file may stand for beyond its size: several may be views of the same values.
MOST_SURPLUS = 2**28


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
            needed = sum(tensor.count() * tensor.storage.dtype.itemsize for tensor in state.values())
            if needed > os.fstat(file.fileno()).st_size + MOST_SURPLUS:
                raise ValueError(f'its tensors repeat few values and stand for {needed:.3g} bytes')
            return {name.removeprefix('module.'): tensor.load(storage) for name, tensor in state.items()}
        except Exception as error:  # and so may tensors that do not fit their storage
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
