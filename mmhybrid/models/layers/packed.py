"""Linear layers and point-wise convolutions that run on oneDNN, with weights in the memory layout of its kernels.

On a CPU, torch computes them with MKL, which takes more than twice as long on processors that are not made by Intel.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from mmhybrid.models.layers.basic import is_plain
from mmhybrid.torch_api import autocasts_on_cpu, is_compiling, is_exporting


class _Packed(nn.Module):
    """A product with a weight, of which a copy in oneDNN's layout is made when it is first needed."""

    weight: Tensor
    bias: Any

    def product(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., width)."""
        if not _runs_on_onednn(x):
            return F.linear(x, self.weight.flatten(1), self.bias)
        packed = self.__dict__.get('packed')
        if packed is None:
            packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach().flatten(1).contiguous())
            self.__dict__['packed'] = packed
        return _onednn(x, packed, self.bias)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the copy in oneDNN's layout, which cannot be pickled."""
        return {name: value for name, value in self.__dict__.items() if name != 'packed'}

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self.__dict__.pop('packed', None)
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop('packed', None)
        super()._load_from_state_dict(*args, **kwargs)


class PackedLinear(_Packed, nn.Linear):
    """A linear layer that runs on oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., width)."""
        return self.product(x)


class PackedConv(_Packed, _ConvNd):
    """A point-wise convolution of maps in channels_last that runs on oneDNN."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H, W)."""
        return self.product(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def pack(network: nn.Module) -> None:
    """Let all linear layers and point-wise convolutions of a network run on oneDNN where possible.

    They do so in float32 on a CPU without gradients. Otherwise, in exports and in compiled code, they compute as
    before. If this torch lacks oneDNN, nothing changes.
    """
    if not is_available():
        return
    for layer in network.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = PackedLinear
        elif isinstance(layer, _ConvNd) and _is_pointwise(layer):
            layer.__class__ = PackedConv  # type: ignore[assignment]


def is_available() -> bool:
    """Return whether this torch has oneDNN with the functions that are needed here."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_reorder_linear_weight')


def _onednn(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, 'none', [], '')
    return out


def _is_pointwise(conv: _ConvNd) -> bool:
    once = all(size == 1 for size in (*conv.kernel_size, *conv.stride))
    return once and is_plain(conv) and conv.groups == 1 and not any(conv.padding)  # type: ignore[arg-type]


def _runs_on_onednn(x: Tensor) -> bool:
    is_watched = is_compiling() or is_exporting() or torch.jit.is_tracing() or type(x) is not Tensor
    is_plain = x.dtype == torch.float32 and x.device.type == 'cpu' and not autocasts_on_cpu()
    return is_plain and not is_watched and not torch.is_grad_enabled()
