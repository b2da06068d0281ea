"""Optimizer wrappers that leave the weights outside the active subnets as they are (AutoViT, algorithm 1)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor
from torch.optim import Optimizer

from mmhybrid.registry import OPTIM_WRAPPERS


@contextmanager
def inactive_kept(optimizer: Optimizer) -> Iterator[None]:
    """Undo what a step of ``optimizer`` does to weights without a gradient, and to what it remembers of them.

    A tensor of a supernet is one parameter, of which a subnet uses a part; the gradient of the rest is exactly zero.
    The optimizer would move that rest nevertheless: by its momentum, and by weight decay.
    """
    kept: list[tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]] = []
    for group in optimizer.param_groups:
        for weight in group['params']:
            if weight.grad is not None:
                memory = {name: value.clone() for name, value in _memory(optimizer, weight)}
                kept.append((weight, weight.grad == 0, weight.detach().clone(), memory))
    yield
    with torch.no_grad():
        for weight, inactive, before, memory in kept:
            weight.copy_(torch.where(inactive, before, weight))
            for name, value in _memory(optimizer, weight):
                start = memory.get(name, torch.zeros_like(value))
                value.copy_(torch.where(inactive, start, value))


def _memory(optimizer: Optimizer, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What the optimizer remembers of each entry of a weight: momentum, averages of squares."""
    for name, value in optimizer.state.get(weight, {}).items():
        if name != 'step' and isinstance(value, Tensor) and value.shape == weight.shape:
            yield name, value


@OPTIM_WRAPPERS.register_module()
class FreezingOptimWrapper(OptimWrapper):
    """MMEngine's wrapper for supernets: a step moves the weights that its subnets used, and no others.

    Algorithm 1 of AutoViT freezes the rest of the supernet; AutoFormer's code, and MMEngine's wrapper, let momentum and
    weight decay move it. An entry counts as unused if its gradient is exactly zero; with accumulation, the gradient
    of all its steps. Adam's count of steps, which corrects the start of its averages, remains one for the tensor.
    """

    def step(self, **kwargs: Any) -> None:
        """See :class:`OptimWrapper`."""
        with inactive_kept(self.optimizer):
            super().step(**kwargs)


@OPTIM_WRAPPERS.register_module()
class FreezingAmpOptimWrapper(AmpOptimWrapper):
    """:class:`FreezingOptimWrapper` in mixed precision; a gradient that half precision rounds to zero is none."""

    def step(self, **kwargs: Any) -> None:
        """See :class:`AmpOptimWrapper`."""
        with inactive_kept(self.optimizer):
            super().step(**kwargs)
