"""The operations of a module, with their computation and the data that they move, without running it."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmhybrid.counting.complexity import CONVOLUTIONS, ProductCounter
from mmhybrid.models.parts import Part
from mmhybrid.torch_api import unfused_attention

_ATEN = torch.ops.aten
# These operations allocate or relabel memory and move no data.
_FREE = {_ATEN.empty, _ATEN.empty_like, _ATEN.detach, _ATEN._unsafe_view, _ATEN.new_empty}


@dataclass(frozen=True)
class Operation:
    """One operation on one image.

    Args:
        kind: ``convolution``, ``depthwise``, ``matmul`` or ``other``.
        macs: Number of multiply-accumulates.
        activations: Number of elements read and written, without weights.
        weights: Number of elements of weights read.
    """

    kind: str
    macs: int
    activations: int
    weights: int


@dataclass(frozen=True)
class PartCost:
    """The cost of one part.

    Args:
        params: Number of parameters.
        macs: Number of multiply-accumulates for one image.
        operations: Operations in the order in which they run.
    """

    params: int
    macs: int
    operations: tuple[Operation, ...] = ()


def count_part(network: nn.Module, pieces: Sequence[tuple[Any, ...]]) -> PartCost:
    """Count the pieces of a part.

    Args:
        network: Backbone that has the part, in eval mode and on the meta device.
        pieces: Pieces as in :class:`Part`.
    """
    params, operations = 0, []
    for path, *shapes in pieces:
        piece = find(network, path)
        if isinstance(piece, Tensor):
            params += piece.numel()
        elif piece is not None:
            params += sum(parameter.numel() for parameter in piece.parameters())
            if shapes:
                operations += trace(piece, shapes)
    return PartCost(params, sum(operation.macs for operation in operations), tuple(operations))


def head_cost(part: Part) -> PartCost:
    """Return the cost of a classifier, which follows from its sizes."""
    in_width, num_classes = (int(float(part.sizes[name])) for name in ('in', 'classes'))
    return PartCost((in_width + 1) * num_classes, in_width * num_classes)


def find(network: nn.Module, path: str) -> Any:
    """Return the module or parameter of a name, the network itself for '', or None if there is none."""
    found: Any = network
    for name in path.split('.') if path else ():
        found = getattr(found, name, None)
    return found


def trace(module: nn.Module, shapes: Sequence[Sequence[int]]) -> list[Operation]:
    """Return the operations of a module on the meta device, in eval mode, for one image.

    Args:
        module: The module.
        shapes: Shapes of its inputs without the batch axis.
    """
    return list(trace_by_layer(module, shapes, name_layers=False).values())


def trace_by_layer(
    module: nn.Module, shapes: Sequence[Sequence[int]], name_layers: bool = True
) -> dict[tuple[str, int], Operation]:
    """Return the operations of :func:`trace` by a pair: the name of the layer that computes each, and its index there.

    Args:
        module: The module.
        shapes: Shapes of its inputs without the batch axis.
        name_layers: Whether operations are listed by layer; otherwise all belong to the module.
    """
    tracer = _Tracer(module)
    with torch.no_grad(), unfused_attention(), tracer.follow(module) if name_layers else nullcontext(), tracer:
        module(*(torch.empty(1, *shape, device='meta') for shape in shapes))
    return tracer.operations


class _Tracer(ProductCounter):
    """A list of all operations, including those that are not products, with the data that they move."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.operations: dict[tuple[str, int], Operation] = {}
        self._computed: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        num_products = len(self.found)
        out = super().__torch_dispatch__(func, types, args, kwargs)
        macs = sum(cost.macs for _, cost in self.found[num_products:])
        if func.is_view or func.overloadpacket in _FREE:
            return out
        kind = 'matmul' if macs else 'other'
        if func.overloadpacket in CONVOLUTIONS:
            kind = 'depthwise' if args[8] > 1 else 'convolution'
        inputs = [tensor for arg in args for tensor in _tensors(arg)]
        weights = sum(tensor.numel() for tensor in inputs if self.is_weight(tensor))
        moved = sum(tensor.numel() for tensor in (*inputs, *_tensors(out)))
        layer = self.path[-1]
        self.operations[layer, self._computed[layer]] = Operation(kind, macs, moved - weights, weights)
        self._computed[layer] += 1
        return out


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [item for item in value if isinstance(item, Tensor)] if isinstance(value, list | tuple) else []
