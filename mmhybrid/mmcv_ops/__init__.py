"""A stand-in for ``mmcv._ext``, MMCV's compiled operators, on those of torchvision.

mmcv-lite holds all of ``mmcv.ops`` but this compiled module, which takes a compiler and ten minutes, and cannot be
built on a torch that needs C++20 (2.14). :func:`install` lets Python find this one instead, where nothing else provides
``mmcv._ext`` and torchvision's operators load. What detectors and segmentors run is here, forward and backward, on CPU
and CUDA: NMS, soft-NMS, RoIAlign, RoIPool, the sigmoid focal loss, and deformable convolution, versions 1 and 2. Any
other operator raises NotImplementedError with its name when it is called. Names and order of arguments, and which of
them are filled, are MMCV 2.1's (``mmcv/ops/csrc/pytorch/pybind.cpp``); tensors need not be contiguous.

The environment variable :data:`SWITCH` set to ``0`` turns the stand-in off.
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
    """Let Python find the stand-in where nothing else provides ``mmcv._ext``; again is harmless.

    Raises:
        ValueError: If :data:`SWITCH` is neither ``0`` nor ``1``.
    """
    _is_wanted()
    if not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.append(_ExtensionFinder())  # last, so that a compiled module is found first


def find(name: str) -> ModuleSpec | None:
    """The specification of the stand-in; None for any other module, or where it is turned off or cannot be."""
    # compat declares some of torchvision's operators where its library does not load, but not this one
    if name != EXTENSION or not _is_wanted() or not hasattr(torch.ops.torchvision, 'roi_align'):
        return None
    return ModuleSpec(name, _ExtensionLoader(), origin=__name__)


def _is_wanted() -> bool:
    wanted = os.environ.get(SWITCH, '1')
    if wanted not in ('0', '1'):
        raise bad_value(SWITCH, wanted, '0 or 1')
    return wanted == '1'


class _ExtensionFinder(MetaPathFinder):
    """Finds :data:`EXTENSION` after all other finders have failed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What :func:`find` finds."""
        return find(fullname)


class _ExtensionLoader(Loader):
    """Fills the module with :data:`OPERATORS`, and with functions that raise for every other public name."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill ``module``, and say so in the log."""
        vars(module).update(OPERATORS, __getattr__=unavailable)
        print_log(
            f'MMCV has no compiled operators; mmhybrid stands in for them with those of torchvision '
            f'{version("torchvision")} ({SWITCH}=0 turns this off)',
            logger='current',
            level=logging.INFO,
        )


def get_compiler_version() -> str:
    """What MMCV's report of the environment shows as the compiler of its operators."""
    return f'none, mmhybrid stands in with torchvision {version("torchvision")}'


def get_compiling_cuda_version() -> str:
    """What MMCV's report of the environment shows as the CUDA of its operators."""
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
