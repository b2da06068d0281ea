"""Small layers and functions that several networks use, and a mark for channels that are several flattened axes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn

from mmhybrid.models.layers.copies import built
from mmhybrid.utils.checks import bad_value, check_bool, check_float, check_keys

Layer = TypeVar('Layer', bound=nn.Module)
Axes = tuple[int, ...]


def fused(layer: Layer, out: Axes | None = None, into: Axes | None = None) -> Layer:
    """Mark the output or input channels of a layer as several flattened axes.

    The layer computes the same as before. A supernet slices each of the axes on its own.

    Args:
        layer: The layer.
        out: Sizes of the axes of the output channels, such as (3, num_heads, head_dim) of a QKV projection; None for
            a single axis.
        into: Sizes of the axes of the input channels; None for a single axis.
    """
    layer.__dict__['fused_axes'] = (out, into)  # neither a tensor nor a module, so it need not be registered
    return layer


def fused_axes(layer: nn.Module) -> tuple[Axes | None, Axes | None]:
    """Return the sizes of the axes of a layer's output and input channels, None where :func:`fused` set none."""
    # not by getattr, since most layers are not marked and a module is slow to raise AttributeError
    groups: tuple[Axes | None, Axes | None] = layer.__dict__.get('fused_axes', (None, None))
    return groups


def same_conv2d(in_width: int, width: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias and with same padding."""
    return nn.Conv2d(in_width, width, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)


def depthwise_conv2d(width: int, kernel_size: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a depth-wise convolution with same padding."""
    return nn.Conv2d(width, width, kernel_size, stride, kernel_size // 2, groups=width, bias=bias)


def is_plain(layer: nn.Module) -> bool:
    """Return whether a layer is one of mmhybrid's, or computes the same as the torch layer that it is derived from.

    Layers of other libraries may do more: norms of timm may activate, and its convolutions may standardise weights.
    """
    own: Any = next(kind for kind in type(layer).__mro__ if kind.__module__.startswith('torch.'))
    return type(layer).forward is own.forward or type(layer).__module__.startswith('mmhybrid.')


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is float16 or bfloat16; float64 stays, since gradients are checked in it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def is_known(*sizes: int) -> bool:
    """Return whether all sizes are ints; code must not branch on symbolic sizes of an export with dynamic shapes."""
    return all(isinstance(size, int) for size in sizes)


def layer_config(field: str, cfg: object, default: str) -> dict[str, Any]:
    """Return ``cfg`` as a dict, or the type ``default`` alone if it is None; raise ValueError if it names no type."""
    if cfg is None:
        return {'type': default}
    if not isinstance(cfg, Mapping) or not (isinstance(cfg.get('type'), str) or callable(cfg.get('type'))):
        raise bad_value(field, cfg, f"a dict with a type, such as dict(type='{default}')")
    return dict(cfg)


def build_norm(norm_cfg: Mapping[str, Any], width: int) -> nn.Module:
    """Build a norm from its config.

    ``LN2d`` is :class:`LayerNorm2d`, whose config may have ``eps`` and ``requires_grad``; other types are MMCV's.

    Raises:
        ValueError: If the config names no type, the type is unknown, or ``LN2d`` has another argument or a wrong value.
    """
    norm_cfg = layer_config('norm_cfg', norm_cfg, 'BN')
    if norm_cfg['type'] != 'LN2d':
        try:
            layer: nn.Module = build_norm_layer(norm_cfg, width)[1]
        except KeyError as error:
            raise bad_value('norm_cfg.type', norm_cfg['type'], 'a registered norm, such as BN') from error
        return layer
    check_keys('norm_cfg', norm_cfg, ('type',), ('eps', 'requires_grad'))
    norm = LayerNorm2d(width, check_float('norm_cfg.eps', norm_cfg.get('eps', 1e-6), 0, above=True))
    return norm.requires_grad_(check_bool('norm_cfg.requires_grad', norm_cfg.get('requires_grad', True)))


def build_act(act_cfg: Mapping[str, Any]) -> nn.Module:
    """Build an activation from its config.

    Raises:
        ValueError: If its type is unknown.
    """
    try:
        return build_activation_layer(dict(act_cfg))
    except KeyError as error:
        raise bad_value('act_cfg.type', act_cfg['type'], 'a registered activation, such as SiLU') from error


@dataclass(frozen=True)
class LayerConfig:
    """The kinds of convolution, norm and activation that a network uses.

    Args:
        conv2d: Function that makes a convolution without bias and with same padding, as :func:`same_conv2d` does.
        norm_cfg: Config of the norms, see :func:`build_norm`.
        act_cfg: Config of the activations, see :func:`build_act`.
    """

    conv2d: Callable[[int, int, int, int, int], nn.Conv2d]
    norm_cfg: Mapping[str, Any] = field(hash=False)
    act_cfg: Mapping[str, Any] = field(hash=False)

    def conv(
        self, in_width: int, width: int, kernel_size: int = 1, stride: int = 1, groups: int = 1, act: bool = True
    ) -> nn.Sequential:
        """Return a convolution without bias, a norm, and an activation if ``act`` is set."""
        return built(_conv, self, in_width, width, kernel_size, stride, groups, act)

    def norm(self, width: int) -> nn.Module:
        """Return a new norm."""
        return build_norm(self.norm_cfg, width)

    def act(self) -> nn.Module:
        """Return a new activation layer."""
        return build_act(self.act_cfg)


def _conv(
    layers: LayerConfig, in_width: int, width: int, kernel_size: int, stride: int, groups: int, act: bool
) -> nn.Sequential:
    conv = layers.conv2d(in_width, width, kernel_size, stride, groups)
    return nn.Sequential(conv, layers.norm(width), *([layers.act()] if act else []))


class _ContiguousGrad(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass  # torch.func requires this method

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad.contiguous()


def with_contiguous_grad(x: Tensor) -> Tensor:
    """Return ``x``; its gradient is made contiguous, since kernels of the layer before may ignore strides."""
    return _ContiguousGrad.apply(x) if x.requires_grad else x


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of an NCHW map; under autocast, statistics are computed in float32."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = nn.functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    """A learned scale for each channel of an NCHW map (CaiT)."""

    def __init__(self, num_channels: int, init_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((num_channels,), init_value))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x * self.gamma.view(-1, 1, 1)
