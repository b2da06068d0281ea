"""Functions that read checkpoints of OpenMMLab with ``weights_only=True``, and write them atomically.

Torch writes a zip archive with a checksum of each entry, which torch itself does not verify. A safetensors file of
mmhybrid has a checksum in its metadata.
"""

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors
import safetensors.torch
import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmhybrid import compat
from mmhybrid.models.pickles import MOST_ITEMS
from mmhybrid.models.released import MOST_SURPLUS, names_in
from mmhybrid.models.restricted import read_restricted
from mmhybrid.torch_api import TORCH
from mmhybrid.utils.errors import first_line
from mmhybrid.utils.files import is_special, write_whole

CHECKSUM = 'sha256'
_ZIP = b'PK\x03\x04'
# Formats of the records at the end of a zip archive, which have the size and position of its directory; large archives
# have them in a record of their own before.
_END, _LOCATOR, _LARGE_END = '<4s8xLLH', '<4s4xQ4x', '<40xQQ'
# Torch's error messages for a class or function that weights do not need.
_NAMED = re.compile(r'GLOBAL (\S+)|Unsupported class (\S+)')
# First version of torch that does not trust the number of values that a file claims; earlier ones read and write memory
# beyond the values.
CHECKED = (2, 10)
# Names that torch allows with ``weights_only=True`` and that weights need. Types of values are allowed too, and so are
# the names that :mod:`mmhybrid.compat` or a user adds. The other names that torch allows create uninitialised memory of
# a size that the file chooses.
_USEFUL = {
    '_codecs.encode',
    'builtins.complex',
    'builtins.set',
    'collections.Counter',  # the milestones of MultiStepLR
    'collections.OrderedDict',
    'torch.Size',
    'torch.Tensor',
    'torch._tensor._rebuild_from_type_v2',
    'torch.device',
    'torch.serialization._get_layout',
    'torch._utils._rebuild_wrapper_subclass',  # a tensor without values, as shards are
    'torch.storage.UntypedStorage',
    *(f'torch._utils._rebuild_{what}' for what in ('tensor', 'tensor_v2', 'tensor_v3')),
    *(f'torch._utils._rebuild_{what}' for what in ('parameter', 'parameter_with_state')),
}


def read_checkpoint(path: str) -> dict[str, Any]:
    """Return the content of a checkpoint, which is a local file or a URL, on the CPU.

    Raises:
        ValueError: If the file does not exist, is damaged or of another kind, or holds more than tensors and values.
    """
    if '://' not in path and not Path(path).is_file():
        raise ValueError(f'checkpoint {path} does not exist')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except UnpicklingError as error:
        raise ValueError(f'{path} is not read: {_refusal(error)}') from error
    except Exception as error:  # a damaged pickle may raise almost any error
        raise ValueError(f'{path} is not a checkpoint that can be read: {first_line(error)}') from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} is not a checkpoint: it holds a {type(checkpoint).__name__}')
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, Mapping):
        raise ValueError(f'{path} is not a checkpoint: its state_dict is a {type(weights).__name__}')
    nameless = next((name for name in weights if not isinstance(name, str) or not name.isprintable()), None)
    if nameless is not None:
        raise ValueError(f'{path} is not a checkpoint: {nameless!r} is not a name of a tensor')
    return checkpoint


def load_local(path: str, map_location: Any) -> Any:
    """Return the content of a local file; MMEngine reads checkpoints with this function once this module is imported.

    Raises:
        ValueError: If the file is damaged or special, or its tensors need far more memory than the file has.
        UnpicklingError: If the file names a class or function that weights do not need.
    """
    path = str(Path(path).expanduser())
    if is_special(path):
        raise ValueError('it is not a file')  # reading a pipe could block forever
    if path.endswith('.safetensors'):
        return {'state_dict': read_safetensors(path)}
    check_entries(path)
    content = _load(path, map_location) if TORCH >= CHECKED else read_restricted(path, map_location)
    if _surplus(content) > MOST_SURPLUS:
        raise ValueError('its tensors are views that repeat few values and stand for more memory than the file has')
    return content


def _load(path: str, map_location: Any) -> Any:
    allowed = _USEFUL.union(map(compat.global_name, torch.serialization.get_safe_globals()))
    if refused := {name for name in names_in(path) - allowed if not _is_type_of_values(name)}:
        raise UnpicklingError(f'GLOBAL {min(refused)}')
    return torch.load(path, map_location=map_location, weights_only=True)


def _is_type_of_values(name: str) -> bool:
    module, _, short = name.rpartition('.')
    kind = getattr(torch, short, None)
    return module == 'torch' and (isinstance(kind, torch.dtype) or kind in torch._storage_classes)


def _surplus(content: Any) -> int:
    """Return the bytes by which tensors exceed their storages, as an expanded tensor with a stride of 0 does.

    Raises:
        ValueError: If there are more than :data:`MOST_ITEMS` values; a value counts once for each place that has it.
    """
    surplus = count = 0
    left = [content]
    while left:
        item = left.pop()
        count += 1
        if isinstance(item, Mapping):
            left += item.values()
        elif isinstance(item, list | tuple | set):
            left += item
        elif hasattr(item, 'local_shards'):  # torch's ShardedTensor, whose shards have the memory
            left += [shard.tensor for shard in item.local_shards()]
        elif isinstance(item, Tensor) and item.layout == torch.strided and not item.is_meta:
            surplus += max(0, item.numel() * item.element_size() - item.untyped_storage().nbytes())
        if count + len(left) > MOST_ITEMS:
            raise ValueError(f'it holds more than {MOST_ITEMS} values, or one within itself')
    return surplus


compat.read_checkpoints_safely(load_local)


def check_entries(path: str | Path) -> None:
    """Raise ValueError if an entry of a file of torch does not match its checksum, which the legacy format lacks."""
    with open(path, 'rb') as file:
        if file.read(len(_ZIP)) != _ZIP:
            return
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError('it has compressed entries, which torch does not write and which may be of any size')
            _check_directory(path)
            if sum(entry.file_size for entry in archive.infolist()) > Path(path).stat().st_size:
                raise ValueError('its entries share their bytes')
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError(f'damaged or cut short ({first_line(error)})') from error
    if damaged is not None:
        raise ValueError(f'damaged, since the checksum of {damaged} does not match')


def _check_directory(path: str | Path) -> None:
    """Raise ValueError unless Python and torch find the same directory of an archive.

    Python looks for it right before the end records, and torch at the offset in these records, so that the two could
    see different entries.
    """
    with open(path, 'rb') as file:
        end = file.seek(0, io.SEEK_END) - struct.calcsize(_END)
        file.seek(end)
        mark, size, offset, comment = struct.unpack(_END, file.read())
        if mark != b'PK\5\6' or comment:
            raise ValueError('it has something behind its end')
        locator = end - struct.calcsize(_LOCATOR)
        if locator >= 0:
            file.seek(locator)
            mark, place = struct.unpack(_LOCATOR, file.read(struct.calcsize(_LOCATOR)))
            if mark == b'PK\6\7':
                end = locator - struct.calcsize(_LARGE_END)
                if place != end:
                    raise ValueError('its end is elsewhere')
                file.seek(end)
                size, offset = struct.unpack(_LARGE_END, file.read(struct.calcsize(_LARGE_END)))
    if offset + size != end:
        raise ValueError('its directory is elsewhere')


def write_safetensors(path: str | Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights with a checksum to a file, completely or not at all."""
    weights = {name: weight.contiguous() for name, weight in weights.items()}
    write_whole(path, safetensors.torch.save(weights, {CHECKSUM: _digest(weights)}))


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Return the weights of a safetensors file.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        with safetensors.safe_open(path, 'pt') as file:
            checksum = (file.metadata() or {}).get(CHECKSUM)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f'no file of safetensors, or damaged ({first_line(error)})') from error
    if checksum is not None and checksum != _digest(weights):
        raise ValueError('damaged, since its checksum does not match')
    return weights


def _digest(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(f'{name} {weight.dtype} {tuple(weight.shape)}'.encode())
        digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _refusal(error: UnpicklingError) -> str:
    found = _NAMED.search(str(error))
    if found is None:
        return 'it is damaged, or a pickle of something else than weights'
    return f'it names {found[1] or found[2]}, which weights have no use for and which might run code'


def plain_weights(path: str) -> dict[str, Any]:
    """Return the plain weights, without averaging, of a checkpoint that MMEngine's ``EMAHook`` saved.

    The hook saves the averaged weights as ``state_dict`` and the plain ones as ``ema_state_dict``.

    Returns:
        A dict with the plain weights as ``state_dict``, under the names that they have without the hook, and ``meta``.

    Raises:
        ValueError: If the file cannot be read, or was saved without the hook.
    """
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint.get('ema_state_dict'), Mapping):
        raise ValueError(f'{path} has no averaged weights beside its plain ones: no entry ema_state_dict')
    prefix = 'module.'  # prefix of the averaged model's weights; its other entries count steps
    weights = [item for item in checkpoint['ema_state_dict'].items() if isinstance(item[0], str)]
    state_dict = {name.removeprefix(prefix): weight for name, weight in weights if name.startswith(prefix)}
    return {'meta': checkpoint.get('meta', {}), 'state_dict': state_dict}


def weights_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of a checkpoint or of a plain state dict, with names without a leading ``module.``."""
    weights = checkpoint.get('state_dict', checkpoint)
    return {name.removeprefix('module.'): weight for name, weight in weights.items()}


def write_checkpoint(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint to a file, completely or not at all, and create the folder if it does not exist."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_whole(path, content.getvalue())
