"""Weight entanglement: the part of a shared tensor that a smaller layer uses.

A smaller layer uses the leading channels of the larger one of the same name, and the centre of its kernel. Channels
that are several axes in one, such as the (3, heads, head_dim) of a query-key-value projection, are sliced along each
axis: the query of head h has the same weights in every network that has head h.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmhybrid.models.layers.basic import fused_axes


def channel_axes(layer: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """Return a tensor's shape with the fused channels of its layer as separate axes (see :func:`fused`)."""
    out_axes, in_axes = fused_axes(layer)
    axes: list[int] = []
    for dim, size in enumerate(shape):
        group = (out_axes, in_axes)[dim] if dim < 2 else None
        axes += group or (size,)
    return tuple(axes)


@dataclass(frozen=True)
class Slice:
    """A part of a tensor.

    Args:
        view: Shape in which the tensor is sliced, with fused channels as separate axes.
        cuts: Axis, start and length of each slice.
        shape: Shape of the part.
    """

    view: tuple[int, ...]
    cuts: tuple[tuple[int, int, int], ...]
    shape: tuple[int, ...]

    @classmethod
    def between(cls, large: nn.Module, large_shape: Sequence[int], small: nn.Module, shape: Sequence[int]) -> 'Slice':
        """Return the part of a tensor of the layer ``large`` that is the tensor of ``shape`` in the layer ``small``."""
        have, want = channel_axes(large, large_shape), channel_axes(small, shape)
        first_kernel_axis = len(have) - (len(shape) - 2 if isinstance(large, _ConvNd) and len(shape) > 2 else 0)
        cuts = []
        for axis, (size, length) in enumerate(zip(have, want, strict=True)):
            assert length <= size, f'{want} is not in {have}'
            if length < size:
                cuts.append((axis, (size - length) // 2 if axis >= first_kernel_axis else 0, length))
        return cls(have, tuple(cuts), tuple(shape))

    def of(self, tensor: Tensor) -> Tensor:
        """Return the part of ``tensor``, as a view unless a slice of fused channels needs a copy."""
        if not self.cuts:
            return tensor
        is_fused = len(self.view) > len(self.shape)
        part = tensor.view(self.view) if is_fused else tensor
        for axis, start, length in self.cuts:
            part = part.narrow(axis, start, length)
        return part.reshape(self.shape) if is_fused else part

    def put(self, tensor: Tensor, value: Tensor) -> None:
        """Write ``value`` into the part of ``tensor``."""
        part = tensor.view(self.view)
        for axis, start, length in self.cuts:
            part = part.narrow(axis, start, length)
        part.copy_(value.reshape(part.shape))
