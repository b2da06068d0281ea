"""How tensors lie in memory, and what a kernel makes of it that reads memory without asking for strides."""

from typing import Any

import torch
from torch import Tensor


class GradientProbe(torch.autograd.Function):
    """The layer in front of what is tested: it keeps the gradient that it is handed, as it lies in memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: list[Tensor]) -> Tensor:
        """A copy of ``x``; its gradient is appended to ``kept``."""
        ctx.kept = kept
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Keep the gradient."""
        ctx.kept.append(grad)
        return grad, None


def as_kernels_read(x: Tensor) -> Tensor:
    """``x`` as its memory says, row after row in the default order of the axes, whatever its strides are."""
    return x.as_strided(x.shape, torch.empty(x.shape, device='meta').stride())


def assert_contiguous(tensors: tuple[Tensor, ...]) -> None:
    """Each tensor's memory holds its elements in the default order."""
    for index, x in enumerate(tensors):
        assert x.is_contiguous(), f'output {index} of shape {tuple(x.shape)} has strides {x.stride()}'
        assert torch.equal(as_kernels_read(x), x)
