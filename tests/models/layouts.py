"""How tensors lie in memory, and what a kernel makes of it that reads memory without asking for strides."""

import torch
from torch import Tensor


def as_kernels_read(x: Tensor) -> Tensor:
    """``x`` as its memory says, row after row in the default order of the axes, whatever its strides are."""
    return x.as_strided(x.shape, torch.empty(x.shape, device='meta').stride())


def assert_contiguous(tensors: tuple[Tensor, ...]) -> None:
    """Each tensor's memory holds its elements in the default order."""
    for index, x in enumerate(tensors):
        assert x.is_contiguous(), f'output {index} of shape {tuple(x.shape)} has strides {x.stride()}'
        assert torch.equal(as_kernels_read(x), x)
