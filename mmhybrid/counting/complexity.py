"""Exact counts of a network's parameters, multiply-accumulates (MACs) and activations, without running it.

One forward pass on fake tensors (shapes without data) shows every convolution and matrix product that torch computes,
including those of attention and slots. Nothing is estimated from the types of layers. As in the papers' tables, biases,
norms, activation functions and poolings do not count.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmhybrid.torch_api import unfused_attention, without_data
from mmhybrid.utils.checks import bad_value, check_int, check_list

NUM_PROPOSALS = 1000
NUM_MASKS = 100
_ATEN = torch.ops.aten
CONVOLUTIONS = {_ATEN.convolution, _ATEN._convolution}
_MATMULS = {  # operator: index of its left factor
    _ATEN.mm: 0,
    _ATEN.bmm: 0,
    _ATEN.mv: 0,
    _ATEN.dot: 0,
    _ATEN.addmm: 1,
    _ATEN.baddbmm: 1,
    _ATEN.addbmm: 1,
    _ATEN.addmv: 1,
}
_COPIES = {_ATEN._to_copy, _ATEN.clone, _ATEN._unsafe_view, _ATEN.cat}


@dataclass(frozen=True)
class Complexity:
    """The cost of a network, or of a part of it, for one input.

    Args:
        params: Number of parameters; shared ones count once.
        macs: MACs of convolutions and of all matrix products.
        macs_attention: MACs of products of two activations: attention scores, attention values and slots. Counters of
            linear layers and convolutions do not see them.
        macs_attention_layers: MACs of whole attention layers, including their projections: of all modules that multiply
            two activations, and of the modules inside these. Counters that skip unknown layers leave them out, for
            instance those behind GLNet's tables on dense prediction.
        activations: Number of output elements of convolutions and matrix products, as fvcore defines it.
        parts: Costs of the parts, in the order of the modules; their sum is the whole.
    """

    params: int = 0
    macs: int = 0
    macs_attention: int = 0
    macs_attention_layers: int = 0
    activations: int = 0
    parts: dict[str, 'Complexity'] = field(default_factory=dict)

    def __add__(self, other: 'Complexity') -> 'Complexity':
        return Complexity(
            self.params + other.params,
            self.macs + other.macs,
            self.macs_attention + other.macs_attention,
            self.macs_attention_layers + other.macs_attention_layers,
            self.activations + other.activations,
        )


def count_complexity(model: nn.Module, input_shape: Sequence[int]) -> Complexity:
    """Count one forward pass in eval mode; the model is left as it was.

    A model of OpenMMLab runs in tensor mode: backbone, neck and head, without the decoding and non-maximum suppression
    that follow. The heads of a two-stage detector see 1000 proposals and 100 masks, as in MMDetection's tables.

    Args:
        model: Backbone, classifier, detector, segmentor or any module that takes one tensor.
        input_shape: (C, H, W) of one image.

    Raises:
        ValueError: If the shape is not three positive ints, or the model cannot run on it.
    """
    shape = [check_int('input_shape', size, 1) for size in check_list('input_shape', input_shape, 3)]
    rows = _rows(model)
    costs = dict.fromkeys(rows.values(), Complexity())
    for name, parameter in model.named_parameters():
        costs[rows[name.rpartition('.')[0]]] += Complexity(params=parameter.numel())
    for name, cost in _count_operations(model, shape):
        costs[rows[name]] += cost
    parts = {name: cost for name, cost in costs.items() if cost != Complexity()}
    return replace(sum(parts.values(), Complexity()), parts=parts)


def _rows(model: nn.Module) -> dict[str, str]:
    """Return the part under which each module is reported, by the module's name.

    Parts are the children of the model. A child named ``backbone`` and a list of modules are divided into their own
    children.
    """
    rows = {'': '(itself)'}

    def visit(module: nn.Module, prefix: str, row: str | None, split_lists: bool) -> None:
        for name, child in module.named_children():
            path = f'{prefix}{name}'
            rows[path] = row or path
            is_list = isinstance(child, nn.ModuleList | nn.ModuleDict)
            split = row is None and (name == 'backbone' or (is_list and split_lists))
            visit(child, f'{path}.', None if split else rows[path], split_lists and not is_list)

    visit(model, '', None, True)
    return rows


def _count_operations(model: nn.Module, shape: list[int]) -> list[tuple[str, Complexity]]:
    """Return each convolution and product of a forward pass with the name of the module that computes it."""
    like = next(model.parameters(), torch.empty(0))
    counter = ProductCounter(model)
    with (
        _eval_mode(model),
        counter.follow(model),
        torch.no_grad(),
        unfused_attention(),
        without_data(like.device),
    ):
        images = torch.empty(1, *shape, dtype=like.dtype, device=like.device)
        try:
            with counter:
                run_layers(model, images)
        except RuntimeError as error:
            raise ValueError(f'input_shape: the model cannot run on {tuple(shape)}: {error}') from error
    layers = {name for name, cost in counter.found if cost.macs_attention}
    return [
        (name, replace(cost, macs_attention_layers=cost.macs) if _is_within(name, layers) else cost)
        for name, cost in counter.found
    ]


def _is_within(name: str, layers: Collection[str]) -> bool:
    """Return whether a module is one of ``layers`` or inside one."""
    return name in layers or (name != '' and _is_within(name.rpartition('.')[0], layers))


def run_layers(model: nn.Module, images: Tensor) -> Any:
    """Return the outputs of a model's layers for images, without decoding and non-maximum suppression.

    The heads of a two-stage detector run on pooled features, 1000 proposals and 100 masks per image. The pooling itself
    does not run, because it has no products.

    Raises:
        ValueError: If the model is a cascade, whose heads have several stages.
    """
    if not isinstance(model, BaseModel):
        return model(images)
    architecture: Any = getattr(model, 'architecture', model)  # a one-shot model holds the model of OpenMMLab here
    if not hasattr(architecture, 'roi_head'):
        return model(images, mode='tensor')
    features = architecture.extract_feat(images)
    return architecture.rpn_head(features), *_run_roi_head(architecture.roi_head, images)


def _run_roi_head(head: Any, images: Tensor) -> Iterator[Any]:
    for part, count in (('bbox', NUM_PROPOSALS), ('mask', NUM_MASKS)):
        if not hasattr(head, f'{part}_head'):
            continue
        branch, extractor = getattr(head, f'{part}_head'), getattr(head, f'{part}_roi_extractor')
        if isinstance(branch, nn.ModuleList):
            raise bad_value('roi_head', type(head).__name__, 'a head of one stage')
        shape = (count * len(images), extractor.out_channels, *extractor.roi_layers[0].output_size)
        # The features are made from the images, because a runtime computes what depends on constants alone only once.
        yield branch(images[:1, :1, :1, :1].expand(*shape).contiguous())


class ProductCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A list of the convolutions and products that torch dispatches.

    A product with a parameter, or with a view or a plain copy of one, is a linear layer; any other product is
    attention. This holds for every kernel that torch chooses for a linear layer, including batched ones.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[str, Complexity]] = []
        self.path = ['']
        self.weights: dict[int, Tensor] = {id(parameter): parameter for parameter in model.parameters()}

    @contextmanager
    def follow(self, model: nn.Module) -> Iterator[None]:
        """Keep the names of the running modules in ``path``."""

        def leave(*_: object) -> None:
            self.path.pop()

        hooks = []
        for name, module in model.named_modules():
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self.path.append(name)))
            hooks.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in CONVOLUTIONS:
            x, weight, transposed = args[0], args[1], args[6]
            self.add((x if transposed else out).numel() * weight[0].numel(), 0, out)
        elif packet in _MATMULS:
            left, right = args[_MATMULS[packet] :][:2]
            macs = left.numel() * (right.shape[-1] if right.ndim > 1 else 1)
            self.add(macs, 0 if self.is_weight(left) or self.is_weight(right) else macs, out)
        elif (func.is_view or packet in _COPIES) and self.is_weight(args[0]):
            self.weights.update({id(view): view for view in ([out] if isinstance(out, Tensor) else out)})
        return out

    def add(self, macs: int, macs_attention: int, out: Tensor) -> None:
        """Add an operation of the innermost running module."""
        cost = Complexity(macs=macs, macs_attention=macs_attention, activations=out.numel())
        self.found.append((self.path[-1], cost))

    def is_weight(self, source: Tensor | list[Tensor]) -> bool:
        """Return whether a tensor, or each of several, is a parameter, or a view or copy of one."""
        return all(id(tensor) in self.weights for tensor in ([source] if isinstance(source, Tensor) else source))


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
