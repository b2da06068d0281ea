"""Numbers and tensors as MMCV's and torchvision's operators take them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmhybrid.torch_api import TORCH


def single_precision(value: float) -> float:
    """The number as MMCV's operators take it, in single precision."""
    return float(np.float32(value))


def computable(value: Tensor) -> Tensor:
    """The tensor, contiguous, in float32 if torchvision's operators do not take its dtype.

    Those on CPUs multiply no float16 with an older torch, and make gradients with the strides of what they are given,
    which may overlap along axes of one; those of torchvision 0.28 (torch 2.13) were seen not to.
    """
    refused = value.dtype == torch.bfloat16 or (value.dtype == torch.float16 and not value.is_cuda and TORCH < (2, 6))
    value = value.float() if refused else value
    return value.clone(memory_format=torch.contiguous_format) if TORCH < (2, 13) else value


def at_least_single(value: Tensor) -> Tensor:
    """The tensor in at least single precision."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def numpy_type(value: Tensor) -> Any:
    """The type in which the compiled kernels compute with the tensor."""
    return np.float64 if value.dtype == torch.float64 else np.float32
