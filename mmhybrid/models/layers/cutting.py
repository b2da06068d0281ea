"""Functions that make layers smaller in place: they keep the leading channels, or the middle of a kernel.

A layer gets new parameters and buffers with values of the old ones; attributes that are not torch's own stay.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmhybrid.models.layers.basic import is_plain
from mmhybrid.utils.checks import bad_value


def input_width(layer: nn.Module) -> int:
    """Return the input channels of a linear layer or a convolution.

    Raises:
        ValueError: If the layer is of another kind, has groups or is transposed.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, _ConvNd) and layer.groups == 1 and not layer.transposed:
        return layer.in_channels
    raise bad_value('layer', type(layer).__name__, 'a linear layer or a convolution without groups, not transposed')


def kernel_size(layer: nn.Module) -> int | None:
    """Return the side of a convolution's kernel; None if the kernel is not square, or the layer is of another kind."""
    sides = set(layer.kernel_size) if isinstance(layer, _ConvNd) else set()
    return int(sides.pop()) if len(sides) == 1 else None


def narrow_outputs(layer: nn.Module, width: int, wide: int) -> None:
    """Keep the first ``width`` of the ``wide`` output channels of a linear layer, a convolution or a norm.

    Raises:
        ValueError: If the layer has another number of channels, is transposed, or has groups without being depth-wise.
    """
    if isinstance(layer, _ConvNd) and layer.transposed:
        raise bad_value('layer', type(layer).__name__, 'a convolution that is not transposed')
    is_depthwise = isinstance(layer, _ConvNd) and layer.groups == layer.in_channels == wide > 1
    if isinstance(layer, _ConvNd) and layer.groups > 1 and not is_depthwise:
        raise bad_value('groups', layer.groups, f'1 or as many as channels, in a {type(layer).__name__} made narrower')
    for name, tensor in _tensors(layer):
        if tensor.dim():
            if len(tensor) != wide:
                raise bad_value(f'channels of {type(layer).__name__}.{name}', len(tensor), f'{wide}, as all around it')
            _put(layer, name, tensor[:width])
    if isinstance(layer, nn.Linear):
        layer.out_features = width
    elif isinstance(layer, _ConvNd):
        layer.out_channels = width
        if is_depthwise:
            layer.in_channels = layer.groups = width
    else:  # a norm
        for name in ('num_features', 'num_channels', 'in_channels'):
            if name in layer.__dict__:
                setattr(layer, name, width)
        if isinstance(layer, nn.LayerNorm):
            layer.normalized_shape = (width,)


def narrow_inputs(layer: nn.Module, width: int) -> None:
    """Keep the first ``width`` input channels of a linear layer or a convolution.

    Raises:
        ValueError: If the layer is of another kind, has groups or is transposed.
    """
    input_width(layer)
    _put(layer, 'weight', layer.get_parameter('weight')[:, :width])
    setattr(layer, 'in_features' if isinstance(layer, nn.Linear) else 'in_channels', width)


def crop_kernel(layer: nn.Module, size: int) -> None:
    """Keep the middle of a convolution's kernel, and reduce the padding by what is cut off at each side.

    Raises:
        ValueError: If there is no middle, since only one of ``size`` and the kernel size is odd, or if the padding is
            smaller than what is cut off, so that maps would become larger.
    """
    assert isinstance(layer, _ConvNd)
    cut, rest = divmod(layer.kernel_size[0] - size, 2)
    if rest:
        raise bad_value('kernel_size', size, f'a size that is in the middle of {layer.kernel_size[0]}')
    least = [cut * dilation for dilation in layer.dilation]
    padded = [0] * len(least) if layer.padding == 'valid' else layer.padding
    paddings: Sequence[int] = least if isinstance(padded, str) else padded
    # convolutions of other libraries may pad by themselves
    if is_plain(layer) and any(padding < less for padding, less in zip(paddings, least, strict=True)):
        raise bad_value('padding', layer.padding, f'at least {least} for a kernel of {size} in the middle')
    weight = layer.weight
    for axis in range(2, weight.dim()):
        weight = weight.narrow(axis, cut, size)  # type: ignore[assignment]
    _put(layer, 'weight', weight)
    layer.kernel_size = (size,) * len(layer.kernel_size)
    if not isinstance(layer.padding, str):
        layer.padding = tuple(max(padding - less, 0) for padding, less in zip(layer.padding, least, strict=True))
    # torch needs this for padding modes other than zeros: before and after each axis, the last axis first
    repeated = layer._reversed_padding_repeated_twice
    steps = [less for less in reversed(least) for _ in range(2)]
    layer._reversed_padding_repeated_twice = [max(had - step, 0) for had, step in zip(repeated, steps, strict=True)]


def _tensors(layer: nn.Module) -> list[tuple[str, Tensor]]:
    named = (*layer._parameters.items(), *layer._buffers.items())
    return [(name, tensor) for name, tensor in named if tensor is not None]


def _put(layer: nn.Module, name: str, part: Tensor) -> None:
    """Replace a tensor of a layer by a copy of ``part``."""
    old = getattr(layer, name)
    new = part.detach().clone()
    if isinstance(old, nn.Parameter):
        setattr(layer, name, nn.Parameter(new, old.requires_grad))
    else:
        setattr(layer, name, new)
