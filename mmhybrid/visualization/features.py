"""Heat maps of the last features of a backbone (GLiT, figure 6)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.visualization.bitmap import Bitmap, color_key, overlaid
from mmhybrid.visualization.host import Photograph
from mmhybrid.visualization.picture import MUTED, Picture, Shape, Text

SIDE = 240.0  # height of a photograph in pixels
MARGIN, GAP = 16.0, 10.0
# heights in pixels of the head, of a photograph's name, and of the scale below a heat map
HEAD, NAME, LABEL = 42.0, 20.0, 17.0
ROW = 1000.0  # largest width of a row of photographs in pixels
ROW_HEIGHT = NAME + 2 * SIDE + GAP + LABEL + MARGIN + GAP
COLORS = 'turbo'
SUBTITLE = 'last features, mean over the channels'


def feature_map(backbone: nn.Module, inputs: Tensor) -> np.ndarray:
    """Return the mean over the channels of a backbone's last output, (h, w).

    The mean is taken in front of the output norm; behind a LayerNorm, it would be zero except for the effect of the
    norm's own parameters. In backbones of OpenMMLab, this norm is a LayerNorm that runs last and whose values are the
    output. A backbone that returns tokens is asked for their map (``out_type``, in GLiT and in MMPretrain's vision
    transformers).

    Args:
        backbone: Backbone in eval mode.
        inputs: One normalised image, (1, 3, H, W).

    Raises:
        ValueError: If the last output is not a map.
    """
    with torch.inference_mode(), _returning_maps(backbone):
        norms = _output_norms(backbone, inputs)
        with _without(norms):
            last = backbone(inputs)[-1]
    if last.dim() != 4:
        name, shape = type(backbone).__name__, tuple(last.shape)
        raise ValueError(f'the last output of the backbone ({name}) is not a map; its shape is {shape}')
    return last[0].mean(0).numpy()


@contextmanager
def _returning_maps(backbone: Any) -> Iterator[None]:
    kept = getattr(backbone, 'out_type', None)
    if kept is not None:
        backbone.out_type = 'featmap'
    try:
        yield
    finally:
        if kept is not None:
            backbone.out_type = kept


def _output_norms(backbone: nn.Module, inputs: Tensor) -> list[nn.Module]:
    """Return the output norms: those of our backbones by their names, and those of OpenMMLab's by their behaviour."""
    if isinstance(backbone, HybridBackbone):
        layers = [getattr(backbone, name) for name in HybridBackbone.output_layers if hasattr(backbone, name)]
        return [norm for layer in layers for norm in (layer.values() if isinstance(layer, nn.ModuleDict) else (layer,))]
    ran: list[tuple[nn.Module, Tensor]] = []
    leaves = [module for module in backbone.modules() if not any(module.children())]
    with _hooked(leaves, lambda module, args, output: ran.append((module, output))):
        last = backbone(inputs)[-1]
    working = [(module, output) for module, output in ran if not isinstance(module, nn.Identity | nn.Dropout)]
    if not working or not isinstance(working[-1][0], nn.LayerNorm):
        return []
    norm, output = working[-1]
    # The output holds the norm's values, perhaps rearranged or selected, but nothing computed from them. If a residual
    # is added to the values, the norm belongs to the block.
    return [norm] if torch.isin(last, output).all() else []


def _without(norms: Sequence[nn.Module]) -> AbstractContextManager[None]:
    return _hooked(norms, lambda module, args, output: args[0])


@contextmanager
def _hooked(modules: Sequence[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def draw_features(photographs: Sequence[Photograph], maps: Sequence[np.ndarray], title: str) -> Picture:
    """Draw photographs in rows, each with its name above and its heat map below, from blue (low) to red (high)."""
    head = [Text(MARGIN, MARGIN + 14, title, 13, bold=True), Text(MARGIN, MARGIN + 32, SUBTITLE, 11, fill=MUTED)]
    shapes: list[Shape] = [*head]
    rights = [MARGIN + 1.1 * text.length for text in head]
    left, top = MARGIN, MARGIN + HEAD
    for photograph, values in zip(photographs, maps, strict=True):
        height, width = photograph.pixels.shape[:2]
        size = (SIDE * width / height, SIDE)
        limits = float(values.min()), float(values.max())
        name = Text(left, top + NAME - 6, photograph.name, 11, fill=MUTED)
        column = max(size[0], name.length)
        if left > MARGIN and left + column > MARGIN + ROW:
            left, top = MARGIN, top + ROW_HEIGHT
            name = replace(name, x=left, y=top + NAME - 6)
        below = top + NAME + SIDE + GAP
        shapes += [name, Bitmap(left, top + NAME, *size, photograph.pixels)]
        shapes.append(Bitmap(left, below, *size, overlaid(photograph.pixels, values, *limits, COLORS)))
        shapes += color_key(left, below + SIDE + LABEL, *limits, COLORS)
        rights.append(left + column)
        left += column + GAP
    return Picture(max(rights) + MARGIN, top + ROW_HEIGHT - GAP, shapes, title)
