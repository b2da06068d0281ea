"""The order of channels that a network is free to choose: those inside a block, which no other block counts on.

A supernet's smaller networks keep the leading channels of its largest, so the most important come first, as in
once-for-all (Cai et al., 2020): importance is the L1 norm of what the following layer takes of a channel. The network
computes what it did before, but for the order of its sums.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmhybrid.models.layers.basic import fused_axes


def sort_channels(network: nn.Module) -> None:
    """Sort whatever is free in a network; modules with a method ``sort_channels`` sort what is theirs."""
    with torch.no_grad():
        for module in network.modules():
            if callable(own := getattr(module, 'sort_channels', None)):
                own()


def sort_hidden(before: Sequence[nn.Module], after: nn.Module, axis: int = 0, also: Sequence[nn.Module] = ()) -> None:
    """Sort the channels between two layers.

    Args:
        before: The layers whose output channels they are, norms and depth-wise convolutions among them.
        after: The layer that takes them.
        axis: Which axis of its input channels to sort, where those are a group (see :func:`fused`); every layer of
            ``before`` that has a group counts it from the end of its own.
        also: Other layers that take them, such as those of an attention over channels.
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
    """Sort the channels within each head: those of queries and keys together, those of values apart."""
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
    """Vectors (N, C) in an order in which each is as far in direction as can be from all before it, the longest first.

    Of two vectors of one direction the later is the one to do without.
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
    """The L1 norm of what a layer takes of each channel of an axis of its input."""
    weight = layer.get_parameter('weight')
    parts = weight.abs().flatten(2).sum(-1) if weight.dim() > 2 else weight.abs()
    parts = parts.sum(0).unflatten(0, _input_axes(layer))
    return parts.sum([other for other in range(parts.dim()) if other != axis]) if parts.dim() > 1 else parts
