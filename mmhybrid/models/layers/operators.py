"""The bundle of operators that blocks are built from.

A block never names ``nn.Conv2d``; it asks its bundle for a convolution. The static bundle below hands out plain torch
layers, so a standalone backbone is ordinary torch code. A supernet hands its blocks the elastic bundle instead
(:mod:`mmhybrid.models.layers.elastic`), whose layers hold the weights of the largest choice and use a leading slice.

Where channels are a fused group, such as the (3, heads, head_dim) of a query-key-value projection, the block says so
by giving a shape instead of a number: slices are then taken along each axis of the group, never across its parts.
"""

import math
from typing import Protocol

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

Width = int | tuple[int, ...]


def num_channels(width: Width) -> int:
    """The channels of a width: itself, or the product of a fused shape."""
    return width if isinstance(width, int) else math.prod(width)


def fuse(layer: nn.Module, in_width: Width, out_width: Width) -> nn.Module:
    """Note on a layer that its channels are fused groups."""
    layer.fused_out = None if isinstance(out_width, int) else out_width
    layer.fused_in = None if isinstance(in_width, int) else in_width
    return layer


def fused_axes(layer: nn.Module) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The axes of a layer's output and input channels, None where they are no group."""
    return getattr(layer, 'fused_out', None), getattr(layer, 'fused_in', None)


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of an NCHW map; statistics are computed in float32 under autocast."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = nn.functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    """A learned factor for each channel (CaiT); ``dim`` is the channel axis, 1 for NCHW maps and -1 for tokens."""

    def __init__(self, num_channels: int, init_value: float, dim: int = 1) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((num_channels,), init_value))
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Any shape with the channels on axis ``dim``."""
        gamma = self.gamma[: x.shape[self.dim]]
        return x * (gamma.view(-1, 1, 1) if self.dim == 1 else gamma)


class Operators(Protocol):
    """What a bundle provides; widths may be fused shapes."""

    def linear(self, in_width: Width, out_width: Width, bias: bool = True) -> nn.Module:
        """A fully connected layer over the last axis."""

    def conv2d(
        self,
        in_width: Width,
        out_width: Width,
        kernel_size: int,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
    ) -> nn.Module:
        """A dense convolution; ``padding`` None means same padding (kernel_size // 2)."""

    def depthwise_conv2d(self, width: int, kernel_size: int, stride: int = 1, bias: bool = True) -> nn.Module:
        """A depth-wise convolution with same padding."""

    def conv1d(self, in_width: Width, out_width: Width) -> nn.Module:
        """A point-wise convolution over a (B, C, L) sequence."""

    def depthwise_conv1d(self, width: int, kernel_size: int) -> nn.Module:
        """A depth-wise convolution over a (B, C, L) sequence, same padding."""

    def layer_norm(self, width: int, eps: float = 1e-6) -> nn.Module:
        """Layer normalisation over the last axis."""

    def layer_norm2d(self, width: int) -> nn.Module:
        """Layer normalisation over the channels of an NCHW map."""

    def norm(self, norm_cfg: dict, width: int) -> nn.Module:
        """The normalisation of a config, usually batch normalisation, over axis 1."""


class StaticOperators:
    """Plain torch layers."""

    def linear(self, in_width: Width, out_width: Width, bias: bool = True) -> nn.Linear:
        """See :class:`Operators`."""
        layer = nn.Linear(num_channels(in_width), num_channels(out_width), bias=bias)
        return fuse(layer, in_width, out_width)

    def conv2d(
        self,
        in_width: Width,
        out_width: Width,
        kernel_size: int,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
    ) -> nn.Conv2d:
        """See :class:`Operators`."""
        padding = kernel_size // 2 if padding is None else padding
        layer = nn.Conv2d(num_channels(in_width), num_channels(out_width), kernel_size, stride, padding, bias=bias)
        return fuse(layer, in_width, out_width)

    def depthwise_conv2d(self, width: int, kernel_size: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
        """See :class:`Operators`."""
        return nn.Conv2d(width, width, kernel_size, stride, kernel_size // 2, groups=width, bias=bias)

    def conv1d(self, in_width: Width, out_width: Width) -> nn.Conv1d:
        """See :class:`Operators`."""
        return fuse(nn.Conv1d(num_channels(in_width), num_channels(out_width), 1), in_width, out_width)

    def depthwise_conv1d(self, width: int, kernel_size: int) -> nn.Conv1d:
        """See :class:`Operators`."""
        return nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)

    def layer_norm(self, width: int, eps: float = 1e-6) -> nn.LayerNorm:
        """See :class:`Operators`."""
        return nn.LayerNorm(width, eps=eps)

    def layer_norm2d(self, width: int) -> LayerNorm2d:
        """See :class:`Operators`."""
        return LayerNorm2d(width)

    def norm(self, norm_cfg: dict, width: int) -> nn.Module:
        """See :class:`Operators`."""
        return LayerNorm2d(width) if norm_cfg['type'] == 'LN2d' else build_norm_layer(norm_cfg, width)[1]


STATIC = StaticOperators()
