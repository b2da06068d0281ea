"""Which part of a shared tensor a smaller layer uses.

Weight entanglement: a smaller layer uses the leading channels of a larger one of the same name, and the centre of its
kernel. Channels that are a fused group, such as the (3, heads, head_dim) of a query-key-value projection, are sliced
along each axis of the group: head h's query is the same weights in every network that has head h.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmhybrid.models.layers.operators import fused_axes


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
    """A part of a tensor: the shape it is seen in, a start and a length along each axis, the shape of the result."""

    view: tuple[int, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def between(cls, large: nn.Module, large_shape: Sequence[int], small: nn.Module, shape: Sequence[int]) -> 'Slice':
        """What the tensor of ``shape`` in the layer ``small`` uses of the one in ``large``."""
        view, lengths = channel_axes(large, large_shape), channel_axes(small, shape)
        num_kernel_axes = len(shape) - 2 if isinstance(large, _ConvNd) else 0
        first_kernel_axis = len(view) - max(num_kernel_axes, 0)
        starts = tuple(
            (have - want) // 2 if axis >= first_kernel_axis else 0
            for axis, (have, want) in enumerate(zip(view, lengths, strict=True))
        )
        assert all(want <= have for have, want in zip(view, lengths, strict=True)), f'{lengths} is not in {view}'
        return cls(view, starts, lengths, tuple(shape))

    def of(self, tensor: Tensor) -> Tensor:
        """The part of ``tensor``, a view of it unless a fused group has to be put together again."""
        if self.lengths == self.view:
            return tensor
        part = tensor.view(self.view)
        for axis, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
            if length < self.view[axis]:
                part = part.narrow(axis, start, length)
        return part.reshape(self.shape)
