"""Which part of a shared tensor a smaller layer uses.

Weight entanglement: a smaller layer uses the leading channels of a larger one of the same name, and the centre of its
kernel. Channels that are a fused group, such as the (3, heads, head_dim) of a query-key-value projection, are sliced
along each axis of the group: head h's query is the same weights in every network that has head h.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmhybrid.models.layers.basic import fused_axes


def channel_axes(layer: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """A tensor's shape with the fused groups of its layer taken apart."""
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
        view: The shape in which the tensor is cut.
        cuts: Axis, start and length of each cut.
        shape: Of the part.
    """

    view: tuple[int, ...]
    cuts: tuple[tuple[int, int, int], ...]
    shape: tuple[int, ...]

    @classmethod
    def between(cls, large: nn.Module, large_shape: Sequence[int], small: nn.Module, shape: Sequence[int]) -> 'Slice':
        """What the tensor of ``shape`` in the layer ``small`` uses of the one in ``large``."""
        have, want = channel_axes(large, large_shape), channel_axes(small, shape)
        first_kernel_axis = len(have) - (len(shape) - 2 if isinstance(large, _ConvNd) and len(shape) > 2 else 0)
        cuts = []
        for axis, (size, length) in enumerate(zip(have, want, strict=True)):
            assert length <= size, f'{want} is not in {have}'
            if length < size:
                cuts.append((axis, (size - length) // 2 if axis >= first_kernel_axis else 0, length))
        return cls(have, tuple(cuts), tuple(shape))

    def of(self, tensor: Tensor) -> Tensor:
        """The part of ``tensor``, a view of it unless a fused group has to be put together again."""
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
