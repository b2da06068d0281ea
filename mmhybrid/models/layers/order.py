"""Functions that sort channels by importance, the most important first, as in once-for-all (Cai et al., 2020).

The smaller networks of a supernet keep the leading channels of its largest network. Only channels inside a block are
sorted, since other blocks do not depend on their order. The importance of a channel is the L1 norm of the following
layer's weights for it. The network computes the same as before, except that sums have another order.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmhybrid.models.layers.basic import fused_axes


def sort_channels(network: nn.Module) -> None:
    """Sort the channels of a network: every module with a method ``sort_channels`` sorts its own."""
    with torch.no_grad():
        for module in network.modules():
            if callable(own := getattr(module, 'sort_channels', None)):
                own()


def sort_hidden(before: Sequence[nn.Module], after: nn.Module, axis: int = 0, also: Sequence[nn.Module] = ()) -> None:
    """Sort the channels between two layers by importance.

    Args:
        before: Layers whose outputs are the channels, including norms and depth-wise convolutions.
        after: Layer whose inputs are the channels, and whose weights determine their importance.
        axis: Axis to sort, if the input channels of ``after`` are several axes in one (see :func:`fused`). The last
            axes of the layers in ``before`` correspond to these.
        also: Other layers whose inputs are the channels, such as those of an attention over channels.
    """
    order = _importance(after, axis).argsort(descending=True, stable=True)
    for layer in before:
        for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
            if tensor.dim():
                groups = fused_axes(layer)[0] or (len(tensor),)
                place = len(groups) - len(_input_axes(after)) + axis
                parts = tensor.unflatten(0, groups)
                tensor.copy_(parts.index_select(place, order).flatten(0, len(groups) - 1))
    for layer in (after, *also):
        weight = layer.get_parameter('weight')
        groups = _input_axes(layer)
        parts = weight.unflatten(1, groups).index_select(1 + axis, order)
        weight.copy_(parts.flatten(1, len(groups)))


def sort_within_heads(qkv: nn.Linear, proj: nn.Linear) -> None:
    """Sort the channels within each head: those of queries and keys together, those of values separately."""
    axes = fused_axes(qkv)[0]
    assert axes is not None
    queries, keys, _ = qkv.weight.unflatten(0, axes).abs().sum(-1)
    values = proj.weight.abs().sum(0).unflatten(0, axes[1:])
    for scores, projections in ((queries * keys, (0, 1)), (values, (2,))):
        order = scores.argsort(dim=-1, descending=True, stable=True)
        for tensor in (qkv.weight, *([] if qkv.bias is None else [qkv.bias])):
            parts = tensor.view(*axes, *tensor.shape[1:])
            for projection in projections:
                part = parts[projection]
                places = order.view(*order.shape, *(1 for _ in part.shape[2:])).expand_as(part)
                part.copy_(part.gather(1, places))
    parts = proj.weight.view(len(proj.weight), *axes[1:])
    parts.copy_(parts.gather(2, order.expand_as(parts)))


def sort_by_distance(vectors: Tensor) -> Tensor:
    """Return vectors (N, C) in an order that starts with the longest and continues with the most different direction.

    Each next vector is the one whose largest cosine similarity to the vectors before it is smallest. Vectors with
    directions similar to those of earlier ones thus come last, where a smaller network leaves them out.
    """
    directions = nn.functional.normalize(vectors, dim=-1)
    order = [int(vectors.norm(dim=-1).argmax())]
    nearest = torch.full((len(vectors),), -math.inf, dtype=vectors.dtype, device=vectors.device)
    while len(order) < len(vectors):
        nearest = nearest.maximum(directions @ directions[order[-1]])
        nearest[order] = math.inf
        order.append(int(nearest.argmin()))
    return vectors[order]


def _input_axes(layer: nn.Module) -> tuple[int, ...]:
    return fused_axes(layer)[1] or (layer.get_parameter('weight').shape[1],)


def _importance(layer: nn.Module, axis: int) -> Tensor:
    """Return the L1 norm of a layer's weights for each channel of an axis of its input."""
    weight = layer.get_parameter('weight')
    parts = weight.abs().flatten(2).sum(-1) if weight.dim() > 2 else weight.abs()
    parts = parts.sum(0).unflatten(0, _input_axes(layer))
    return parts.sum([other for other in range(parts.dim()) if other != axis]) if parts.dim() > 1 else parts
