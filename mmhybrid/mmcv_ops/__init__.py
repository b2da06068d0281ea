"""A stand-in for ``mmcv._ext``, MMCV's compiled operators, that uses operators of torchvision.

mmcv-lite has all of ``mmcv.ops`` except this compiled module, whose build needs a compiler and ten minutes and fails
with a torch that needs C++20 (2.14). :func:`install` lets Python find the stand-in if nothing else provides
``mmcv._ext`` and torchvision's operators load.

The stand-in has what detectors and segmentors need, forward and backward, on CPU and CUDA: NMS, soft-NMS (on the CPU,
as in MMCV), RoIAlign, RoIPool, the sigmoid focal loss, and deformable convolution, versions 1 and 2. Any other operator
raises NotImplementedError with its name when it is called. The names and order of arguments, and the arguments that an
operator fills, are those of MMCV 2.1 (``mmcv/ops/csrc/pytorch/pybind.cpp``); tensors need not be contiguous.

The value ``0`` of the environment variable :data:`SWITCH` turns the stand-in off.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import Any

import torch
from mmengine.logging import print_log

from mmhybrid.mmcv_ops.deformable import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from mmhybrid.mmcv_ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from mmhybrid.mmcv_ops.regions import roi_align_backward, roi_align_forward, roi_pool_backward, roi_pool_forward
from mmhybrid.mmcv_ops.suppression import nms, softnms
from mmhybrid.mmcv_ops.unavailable import unavailable
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.optional import EXTENSION

SWITCH = 'MMHYBRID_MMCV_OPS'


def install() -> None:
    """Let Python find the stand-in if nothing else provides ``mmcv._ext``; further calls have no effect.

    Raises:
        ValueError: If :data:`SWITCH` is neither ``0`` nor ``1``.
    """
    _is_wanted()
    if not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.append(_ExtensionFinder())  # last, so that a compiled module is found first


def find(name: str) -> ModuleSpec | None:
    """Return the specification of the stand-in; None for other modules, or if it is turned off or cannot work."""
    # roi_align tells whether torchvision's library loads, since compat declares other operators if it does not
    if name != EXTENSION or not _is_wanted() or not hasattr(torch.ops.torchvision, 'roi_align'):
        return None
    return ModuleSpec(name, _ExtensionLoader(), origin=__name__)


def _is_wanted() -> bool:
    wanted = os.environ.get(SWITCH, '1')
    if wanted not in ('0', '1'):
        raise bad_value(SWITCH, wanted, '0 or 1')
    return wanted == '1'


class _ExtensionFinder(MetaPathFinder):
    """A finder of :data:`EXTENSION` that runs after all other finders have failed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the result of :func:`find`."""
        return find(fullname)


class _ExtensionLoader(Loader):
    """A loader that fills the module with :data:`OPERATORS`, and with functions that raise for other public names."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill ``module`` and log that the stand-in is used."""
        vars(module).update(OPERATORS, __getattr__=unavailable)
        print_log(
            f'MMCV has no compiled operators; mmhybrid stands in for them with those of torchvision '
            f'{version("torchvision")} ({SWITCH}=0 turns this off)',
            logger='current',
            level=logging.INFO,
        )


def get_compiler_version() -> str:
    """Return what MMCV's report of the environment shows as the compiler of its operators."""
    return f'none, mmhybrid stands in with torchvision {version("torchvision")}'


def get_compiling_cuda_version() -> str:
    """Return what MMCV's report of the environment shows as the CUDA version of its operators."""
    return 'not available'


OPERATORS: dict[str, Callable[..., Any]] = {
    operator.__name__: operator
    for operator in (
        nms,
        softnms,
        roi_align_forward,
        roi_align_backward,
        roi_pool_forward,
        roi_pool_backward,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        deform_conv_forward,
        deform_conv_backward_input,
        deform_conv_backward_parameters,
        modulated_deform_conv_forward,
        modulated_deform_conv_backward,
        get_compiler_version,
        get_compiling_cuda_version,
    )
}
