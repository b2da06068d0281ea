"""What OpenMMLab's last releases need to run on today's torch and beside today's packages; no other module patches one.

:func:`apply` runs when mmhybrid is imported. Each fix states its cause, when it does nothing and when it can go.
"""

import importlib.util
import logging
from collections.abc import Callable
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import torch
from mmengine._strategy import fsdp
from mmengine.logging import HistoryBuffer, print_log
from mmengine.registry import Registry
from torch.distributed._shard import metadata, sharding_spec
from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor
from torch.distributed._shard.sharded_tensor import metadata as tensor_metadata
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.remote_device import _remote_device
from torch.hub import load_state_dict_from_url

from mmhybrid import mmcv_ops
from mmhybrid.utils.import_hooks import Execute, around_import

MULTIMODAL = 'mmpretrain.models.multimodal'
_STATISTICS = ('min', 'max', 'current', 'mean')
_TORCHVISION_OPS = ('nms', 'qnms')
_declared: list[torch.library.Library] = []


def apply() -> None:
    """Run every fix; again is harmless."""
    allow_mmengine_checkpoints()
    allow_sharded_checkpoints()
    order_fsdp_arguments()
    declare_torchvision_ops()
    mmcv_ops.install()
    around_import(MULTIMODAL, import_without_transformers)


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read the checkpoints of MMEngine's runner with ``weights_only=True``.

    Cause: since torch 2.6 this is the default of ``torch.load``, and MMEngine 0.10 neither turns it off nor names the
    globals its message hub pickles: ``HistoryBuffer``, NumPy's arrays and scalars, and ``getattr`` (for the buffer's
    statistics, see :func:`history_buffer_getattr`). ``resume`` and ``load_from`` then end in UnpicklingError.
    Does nothing for a name the process has allowed already.
    Can go when MMEngine allows its own globals.
    """
    taken = {_global_name(item) for item in torch.serialization.get_safe_globals()}
    torch.serialization.add_safe_globals([item for item in _mmengine_globals() if _global_name(item) not in taken])


def history_buffer_getattr(owner: object, name: str) -> Any:
    """What ``getattr`` means in a checkpoint: a statistic of ``HistoryBuffer``, or a part of a shard.

    Raises:
        AttributeError: For any other owner or name.
    """
    if owner is ShardedTensor and name == 'ProcessGroupState':
        return ShardedTensor.ProcessGroupState
    if owner is not HistoryBuffer or not isinstance(name, str) or name not in _STATISTICS:
        raise AttributeError(f'a checkpoint may only take {", ".join(_STATISTICS)} of HistoryBuffer, not {name!r}')
    return vars(HistoryBuffer)[name]


def allow_sharded_checkpoints() -> None:
    """Let ``torch.load`` read the shards that MMEngine's ``FSDPStrategy`` saves, with ``weights_only=True``.

    Cause: as above. With ``state_dict_cfg='local'``, its default, each process saves ``ShardedTensor`` objects, made of
    the descriptions named here; none of them runs anything but torch's own code when it is loaded.
    Does nothing for a name the process has allowed already.
    Can go when MMEngine allows them, or saves plain tensors.
    """
    needed: list[Any] = [
        metadata.ShardMetadata,
        Shard,
        ShardedTensor,
        ShardedTensor.ProcessGroupState,
        sharding_spec.ChunkShardingSpec,
        sharding_spec.EnumerableShardingSpec,
        tensor_metadata.MEM_FORMAT_ENCODING,
        tensor_metadata.ShardedTensorMetadata,
        tensor_metadata.TensorProperties,
        torch.serialization._get_layout,
        _remote_device,
    ]
    taken = {_global_name(item) for item in torch.serialization.get_safe_globals()}
    torch.serialization.add_safe_globals([item for item in needed if _global_name(item) not in taken])


class _OldArgumentOrder(FullyShardedDataParallel):
    """Functions of FSDP as MMEngine calls them; it builds none."""

    @staticmethod
    def optim_state_dict_to_load(  # type: ignore[override]
        state: dict[str, Any], model: torch.nn.Module, optimizer: Any
    ) -> dict[str, Any]:
        """The state of all processes as this one's part."""
        return FullyShardedDataParallel.optim_state_dict_to_load(model, optimizer, state)


def order_fsdp_arguments() -> None:
    """Let MMEngine's ``FSDPStrategy`` resume an optimizer.

    Cause: MMEngine 0.10 calls ``FSDP.optim_state_dict_to_load(state, model, optimizer)``, and since torch 2.1 the order
    is ``(model, optimizer, state)``: a resume ends in "unhashable type: 'dict'". MMEngine's module gets a class of that
    name with the order that it uses.
    Does nothing where the module has one already.
    Can go when MMEngine calls it with names.
    """
    if fsdp.FSDP is fsdp.FullyShardedDataParallel:
        fsdp.FSDP = _OldArgumentOrder


def _mmengine_globals() -> list[Any]:
    rebuild: list[Any] = [value.__reduce__()[0] for value in (np.empty(0), np.float64(0))]
    functions = [  # NumPy 2 renamed the module, and checkpoints outlive it
        (function, f'numpy.{core}.multiarray.{function.__name__}') for core in ('_core', 'core') for function in rebuild
    ]
    numbers = [type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['Float'] + '?']
    return [HistoryBuffer, (history_buffer_getattr, 'builtins.getattr'), np.ndarray, np.dtype, *functions, *numbers]


def _global_name(item: Any) -> str:
    return item[1] if isinstance(item, tuple) else f'{item.__module__}.{item.__qualname__}'


def read_checkpoints_safely(load_local: Callable[[str, Any], Any]) -> None:
    """Let MMEngine read checkpoints without running what they hold, wherever they are.

    Cause: what MMEngine 0.10 downloads is read with ``torch.hub.load_state_dict_from_url``, whose default is
    ``weights_only=False`` to this day: an address in ``load_from``, in an ``init_cfg`` or on the command line runs the
    code of the file. Local files are read with torch's default, which no checksum and no safetensors belong to.
    Runs when :mod:`mmhybrid.models.checkpoints` is imported; again is harmless.
    Can go when MMEngine reads both with ``weights_only=True``.

    Args:
        load_local: Reads a local file; takes its path and the location to map to.
    """
    from mmengine.runner import checkpoint  # a second of imports, which ``import mmhybrid`` spares

    def load_from_local(filename: str, map_location: Any) -> Any:
        return load_local(filename, map_location)

    checkpoint.CheckpointLoader.register_scheme('', loader=load_from_local, force=True)
    checkpoint.load_url = partial(load_state_dict_from_url, weights_only=True)


def declare_torchvision_ops() -> None:
    """Let torchvision be imported where its compiled operators cannot be loaded.

    Cause: torchvision's wheel is built for CUDA. Beside a CPU build of torch its library lacks its dependencies, and
    ``import torchvision`` fails with "operator torchvision::nms does not exist", although mmpretrain needs no more than
    its transforms. Declared, the operators exist; calling one still raises.
    Does nothing where torchvision is not installed, is imported, has no library where it is looked for, or its library
    loads (the very library and call that ``import torchvision`` uses, so that it finds its operators registered once).
    Can go when torchvision imports without its library, or CPU wheels are what package indexes offer by default.
    """
    if hasattr(torch.ops.torchvision, 'nms'):
        return
    spec = importlib.util.find_spec('torchvision')
    libraries = [] if spec is None or spec.origin is None else _libraries(Path(spec.origin).parent)
    if not libraries or _load(libraries):
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in _TORCHVISION_OPS:
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _declared.append(library)  # the declarations live as long as the library object


def _libraries(package: Path) -> list[Path]:
    """The libraries of torchvision's operators: ``_C``, since 0.29 ``_C_stable``."""
    return sorted(path for suffix in EXTENSION_SUFFIXES for path in package.glob(f'_C*{suffix}'))


def _load(libraries: list[Path]) -> bool:
    for path in libraries:
        try:
            torch.ops.load_library(path)
        except (ImportError, OSError):
            continue
        if hasattr(torch.ops.torchvision, 'nms'):
            return True
    return False


def import_without_transformers(module: ModuleType, execute: Execute) -> None:
    """Import MMPretrain's multimodal models, or leave them out where they do not run with the installed transformers.

    Cause: they import names of transformers 4.28 that it dropped since, and MMPretrain imports them wherever
    transformers is installed. So it fails as a whole, although all else needs no transformers. Left out, they are
    placeholders that say why when one is built, as MMPretrain's own do where transformers is not installed.
    Does nothing where their import works.
    Can go when MMPretrain follows transformers, or asks for the versions that it works with.
    """
    from mmpretrain.registry import MODELS
    from mmpretrain.utils import dependency

    before = set(MODELS.module_dict)
    try:
        execute(module)
    except Exception as error:  # a name that is missing shows as ImportError, AttributeError or TypeError
        if not dependency.WITH_MULTIMODAL:
            raise
        for name in set(MODELS.module_dict) - before:
            del MODELS.module_dict[name]
        reason = f'{type(error).__name__}: {error}'
        print_log(f'{_no_multimodal(reason)}; all else of it works', logger='current', level=logging.INFO)
        dependency.WITH_MULTIMODAL = False
        dependency.register_multimodal_placeholder = lambda names, registry: _leave_out(names, registry, reason)
        execute(module)


def _leave_out(names: list[str], registry: Registry, reason: str) -> None:
    for name in names:

        def explain(*args: object, name: str = name, **kwargs: object) -> NoReturn:
            raise ImportError(f'{name}: {_no_multimodal(reason)}')

        registry.register_module(name=name, module=explain)


def _no_multimodal(reason: str) -> str:
    return (
        f"MMPretrain's multimodal models were written for transformers 4.28 and do not run with transformers "
        f'{version("transformers")} ({reason})'
    )
