"""Conversions of numbers and tensors to the precision that MMCV's and torchvision's operators use."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmhybrid.torch_api import TORCH


def single_precision(value: float) -> float:
    """Return the number rounded to float32, as MMCV's operators take it."""
    return float(np.float32(value))


def computable(value: Tensor) -> Tensor:
    """Return the tensor in a dtype and memory layout that torchvision's operators support.

    bfloat16 becomes float32, and so does float16 on CPUs before torch 2.6, which cannot multiply it there. Before torch
    2.13 (torchvision 0.28), the tensor is copied to a contiguous one, since operators on CPUs create gradients with the
    strides of their inputs, which may overlap along axes of length 1.
    """
    refused = value.dtype == torch.bfloat16 or (value.dtype == torch.float16 and not value.is_cuda and TORCH < (2, 6))
    value = value.float() if refused else value
    return value.clone(memory_format=torch.contiguous_format) if TORCH < (2, 13) else value


def at_least_single(value: Tensor) -> Tensor:
    """Return the tensor in float32 if it is float16 or bfloat16."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def numpy_type(value: Tensor) -> Any:
    """Return the NumPy type in which MMCV's compiled kernels compute with the tensor."""
    return np.float64 if value.dtype == torch.float64 else np.float32
