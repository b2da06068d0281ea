"""Functions that fold a layer into the weights of the layer beside it, for deployment.

Each function gives a layer new parameters and leaves the old tensors unchanged, since a supernet may share them.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mmhybrid.models.layers.basic import is_plain

Product = _ConvNd | nn.Linear


class ResidualDepthwiseConv2d(nn.Conv2d):
    """``x`` plus a depth-wise convolution of ``x`` with same padding; folding makes it a single convolution."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.adds_input = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        out = super().forward(x)
        return x + out if self.adds_input else out

    def fold(self) -> None:
        """Add 1 to the middle of the kernel, which adds the input."""
        if self.adds_input:
            weight, middle = self.weight.detach().clone(), self.weight.shape[-1] // 2
            weight[:, :, middle, middle] += 1
            self.weight, self.adds_input = nn.Parameter(weight), False


def fold_norm(layer: Product, norm: nn.Module) -> nn.Module:
    """Fold the batch norm behind a layer into the layer.

    Returns:
        Replacement of the norm: an identity, or the norm itself if it is not a batch norm with running statistics.
    """
    if not _is_fixed(norm):
        return norm
    factor, shift = _factor_and_shift(norm)
    scale_outputs(layer, factor, shift)
    return nn.Identity()


def fold_norm_before(norm: nn.Module, conv: _ConvNd) -> nn.Module:
    """Fold the batch norm in front of a convolution into it, and return the replacement of the norm.

    A norm in front of a convolution with padding or groups stays.
    """
    if not _is_fixed(norm) or any(conv.padding) or conv.groups > 1:
        return norm
    factor, shift = _factor_and_shift(norm)
    weight, axes = conv.weight.detach().double(), range(2, conv.weight.dim())
    bias = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device) if conv.bias is None else conv.bias
    moved = (weight.sum(tuple(axes)) @ shift) + bias.detach().double()
    _replace(conv, weight * factor.view(1, -1, *(1 for _ in axes)), moved)
    return nn.Identity()


def scale_outputs(layer: Product, factor: Tensor, shift: Tensor | None = None) -> None:
    """Change a layer's weights so that its outputs are multiplied by a factor for each channel and shifted."""
    weight, factor = layer.weight.detach().double(), factor.detach().double()
    bias = None if layer.bias is None else layer.bias.detach().double() * factor
    if shift is not None:
        bias = shift if bias is None else bias + shift
    _replace(layer, weight * factor.view(-1, *(1 for _ in weight.shape[1:])), bias)


def fold_sequence(layers: nn.Sequential) -> None:
    """Fold the batch norms of a sequence into the convolutions beside them."""
    names = list(layers._modules)
    for name, following in pairwise(names):
        first, second = layers.get_submodule(name), layers.get_submodule(following)
        if not is_plain(first) or not is_plain(second):
            continue
        if isinstance(first, _ConvNd):
            layers.add_module(following, fold_norm(first, second))
        elif isinstance(second, _ConvNd):
            layers.add_module(name, fold_norm_before(first, second))


def fold(network: nn.Module) -> None:
    """Fold everything that can be folded in a network in eval mode.

    A sequence folds batch norms into its convolutions, and a module with a method ``fold`` folds its own layers.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential) and is_plain(module):
            fold_sequence(module)
        elif callable(own := getattr(module, 'fold', None)):
            own()


def _is_fixed(norm: nn.Module) -> bool:
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


def _factor_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the factor and the shift of a batch norm, which computes ``x * factor + shift`` in eval mode."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        factor = factor * norm.weight.detach().double()
    shift = -norm.running_mean.double() * factor
    return factor, shift + norm.bias.detach().double() if norm.affine else shift


def _replace(layer: Product, weight: Tensor, bias: Tensor | None) -> None:
    dtype = layer.weight.dtype
    layer.weight = nn.Parameter(weight.to(dtype))
    layer.bias = None if bias is None else nn.Parameter(bias.to(dtype))
