"""Optimizer wrappers that keep the weights outside the active subnets unchanged (AutoViT, algorithm 1)."""

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
    """Undo the effect of a step of ``optimizer`` on weights without a gradient, and on its state for them.

    A tensor of a supernet is one parameter, of which a subnet uses a part; the gradient of the rest is exactly zero.
    Momentum and weight decay would nevertheless change that rest.
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
    """Yield the states of the optimizer that have a value for each entry of a weight: momentum, averages of squares."""
    for name, value in optimizer.state.get(weight, {}).items():
        if name != 'step' and isinstance(value, Tensor) and value.shape == weight.shape:
            yield name, value


@OPTIM_WRAPPERS.register_module()
class FreezingOptimWrapper(OptimWrapper):
    """MMEngine's optimizer wrapper for supernets: a step changes only the weights that its subnets used.

    Algorithm 1 of AutoViT freezes the rest of the supernet; in AutoFormer's code and MMEngine's wrapper, momentum and
    weight decay change it. An entry counts as unused if its gradient is exactly zero, after accumulation over all
    micro-batches. Adam's step count, which corrects the bias of its averages, is still one for the whole tensor.
    """

    def step(self, **kwargs: Any) -> None:
        """See :class:`OptimWrapper`."""
        with inactive_kept(self.optimizer):
            super().step(**kwargs)


@OPTIM_WRAPPERS.register_module()
class FreezingAmpOptimWrapper(AmpOptimWrapper):
    """:class:`FreezingOptimWrapper` in mixed precision; gradients that half precision rounds to zero count as zero."""

    def step(self, **kwargs: Any) -> None:
        """See :class:`AmpOptimWrapper`."""
        with inactive_kept(self.optimizer):
            super().step(**kwargs)
