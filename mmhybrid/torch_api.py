"""What torch names differently, or lacks, in some of the releases that mmhybrid runs on."""

import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

TORCH = tuple(int(part) for part in torch.__version__.split('.')[:2])
# The oldest torch whose torch.export and ONNX exporter were tried and write all networks; 2.6's do not.
EXPORTING = (2, 8)
# The same for files that leave the size of images open; 2.8 writes some that fail at other sizes.
EXPORTING_SIZES = (2, 13)


def require_torch(oldest: tuple[int, int], purpose: str) -> None:
    """Raise ValueError if torch is older than ``oldest``, naming what needs that one."""
    if oldest > TORCH:
        needed = '.'.join(map(str, oldest))
        raise ValueError(f'{purpose} needs torch {needed} or newer; this is torch {torch.__version__}')


def register_load_hook(module: nn.Module, hook: Callable[..., None]) -> None:
    """Do ``module.register_load_state_dict_pre_hook(hook)``, whose name has an underscore in front before torch 2.5."""
    if TORCH >= (2, 5):
        module.register_load_state_dict_pre_hook(hook)
    else:
        module._register_load_state_dict_pre_hook(hook, with_module=True)


@contextmanager
def fast_path_off() -> Iterator[None]:
    """Keep torch's transformer layers from becoming one fused operator in eval mode."""
    if TORCH >= (2, 4):
        from torch.backends import mha

        enabled = mha.get_fastpath_enabled()
        mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            mha.set_fastpath_enabled(enabled)
    else:
        with _SeesFunctions():  # what the layers leave the fast path for
            yield


class _SeesFunctions(TorchFunctionMode):
    """Does nothing with the functions that it sees."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Run attention in its parts, so that its products are seen."""
    if TORCH >= (2, 3):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        in_parts = sdpa_kernel(SDPBackend.MATH)
    else:
        in_parts = torch.backends.cuda.sdp_kernel(enable_flash=False, enable_mem_efficient=False)
    with fast_path_off(), in_parts:
        yield


def autocasts_on_cpu() -> bool:
    """Whether operations on a CPU choose their own precision here."""
    return torch.is_autocast_enabled('cpu') if TORCH >= (2, 4) else torch.is_autocast_cpu_enabled()


def without_data(device: torch.device) -> AbstractContextManager[Any]:
    """Tensors without values for a network on ``device``; those of the meta device have none, and cost a quarter."""
    if device.type == 'meta':
        return nullcontext()
    from torch._subclasses.fake_tensor import FakeTensorMode  # seconds of imports

    return FakeTensorMode(allow_non_fake_inputs=True)


# not wrapped, since torch.compile knows these very functions
is_compiling = getattr(torch.compiler, 'is_compiling', None) or torch._utils.is_compiling  # since torch 2.3
is_exporting = getattr(torch.compiler, 'is_exporting', None) or is_compiling  # since torch 2.7


def is_network_error(error: RuntimeError) -> bool:
    """Whether processes did not find each other; a port in use is a plain RuntimeError of some releases."""
    known = getattr(torch.distributed, 'DistNetworkError', RuntimeError)  # since torch 2.2
    return isinstance(error, known) or 'server socket' in str(error)


def is_device_error(error: Exception) -> bool:
    """Whether a device failed, and can do nothing more for this process."""
    if hasattr(torch, 'AcceleratorError'):
        return isinstance(error, torch.AcceleratorError)
    return isinstance(error, RuntimeError) and 'CUDA error' in str(error)


def why_not_compiled(device: str) -> str | None:
    """What torch.compile lacks on this machine for networks on ``device``, None if nothing."""
    by_device = {'cpu': ('C++', 'CXX', ('g++', 'clang++'))}
    language, variable, names = by_device.get(device, ('C', 'CC', ('gcc', 'clang', 'cc')))
    if not any(map(shutil.which, filter(None, (os.environ.get(variable), *names)))):
        return f'no {language} compiler ({", ".join(names)})'
    if not Path(sysconfig.get_path('include'), 'Python.h').is_file():
        return 'no Python.h, the headers of this Python'
    return None
