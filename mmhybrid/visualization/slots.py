"""Maps of GLNet's slots, which show the pixels assigned to each (GLNet, section 4.4, figures 5 to 8)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmhybrid.models.backbones.glnet import GLNet
from mmhybrid.models.layers.glmix import SlotAttention
from mmhybrid.utils.checks import bad_value, check_choice, check_float
from mmhybrid.utils.optional import require
from mmhybrid.visualization.bitmap import Bitmap, Pixels, color_key, colored, overlaid
from mmhybrid.visualization.host import Photograph
from mmhybrid.visualization.picture import MUTED, Picture, Rect, Shape, Text

# The weights sum to one over this dimension of the logits (B, M, L).
WEIGHTS = {'dispatch': 1, 'clustering': 2}

SIDE = 240.0  # the longer side in pixels of a photograph, and of all maps of a block together
MARGIN, GAP, PANEL_GAP = 16.0, 14.0, 34.0
HEAD, LABEL = 46.0, 27.0  # heights in pixels of a panel's head, and of the name and the range of a slot
SMALL = 9.0  # font size of names and ranges
RANGE_LENGTH = 120.0  # length of the longest range in pixels
TILE_GAP, FRAME, NUMBER = 3.0, 1.5, 8.0
FRAME_COLOR = '#c2410c'
COLORS = 'viridis'


@dataclass(frozen=True)
class SlotBlock:
    """A block with slots.

    Args:
        number: Number of the block in the network, from 1, as in the paper.
        stage: Number of its stage, from 1.
        layer: Its slot attention.
    """

    number: int
    stage: int
    layer: SlotAttention

    @property
    def name(self) -> str:
        """Name that people read."""
        return f'block {self.number} (stage {self.stage})'


def slot_blocks(backbone: nn.Module) -> list[SlotBlock]:
    """Return the blocks of a GLNet that have slots.

    Raises:
        ValueError: If there are none.
    """
    stages = backbone.stages.children() if isinstance(backbone, GLNet) else ()
    blocks = [(stage, block) for stage, blocks in enumerate(stages, start=1) for block in blocks.children()]
    layers = [(stage, getattr(block.mixer, 'slots', None)) for stage, block in blocks]
    found = [
        SlotBlock(number, stage, layer)
        for number, (stage, layer) in enumerate(layers, start=1)
        if isinstance(layer, SlotAttention)
    ]
    if not found:
        raise ValueError(
            f'the backbone ({type(backbone).__name__}) has no slots; only a GLNet with glmix or global blocks has them'
        )
    return found


def choose_blocks(blocks: Sequence[SlotBlock], numbers: Sequence[int] | None) -> list[SlotBlock]:
    """Return the blocks with these numbers.

    None gives the first block with slots of stage 3, or of the last stage with slots if that comes before (figure 5).

    Raises:
        ValueError: If a number is not a block with slots. The message names the blocks that are.
    """
    if numbers is None:
        stage = min(3, blocks[-1].stage)
        return [next(block for block in blocks if block.stage >= stage)]
    known = {block.number: block for block in blocks}
    for number in numbers:
        if number not in known:
            raise bad_value('--blocks', number, f'a block with slots: {", ".join(map(str, known))}')
    return [known[number] for number in numbers]


def assignment_maps(
    backbone: nn.Module, blocks: Sequence[SlotBlock], inputs: Tensor, weights: str = 'dispatch'
) -> list[np.ndarray]:
    """Return the weight with which each pixel belongs to each slot, (M, H, W) for each block.

    Args:
        backbone: Backbone in eval mode.
        blocks: Blocks of this backbone.
        inputs: One normalised image, (1, 3, H, W).
        weights: Kind of the weights, one of :data:`WEIGHTS`. Those of ``dispatch`` sum to one over the slots at each
            pixel, and those of ``clustering`` (equation 3) over the pixels of each slot.
    """
    dim = WEIGHTS[check_choice('weights', weights, tuple(WEIGHTS))]
    maps = []
    with torch.inference_mode(), _seen_inputs([block.layer for block in blocks]) as seen:
        backbone(inputs)
        for block in blocks:
            x, slots = seen[block.layer]
            logits = block.layer.logits(slots, x.flatten(2))
            maps.append(logits.softmax(dim)[0].unflatten(1, x.shape[2:]).numpy())
    return maps


@contextmanager
def _seen_inputs(layers: Sequence[nn.Module]) -> Iterator[Mapping[nn.Module, tuple[Tensor, ...]]]:
    """Record the arguments with which layers are called."""
    seen: dict[nn.Module, tuple[Tensor, ...]] = {}
    handles = [layer.register_forward_pre_hook(seen.__setitem__) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def representatives(maps: np.ndarray, count: int = 4) -> list[int]:
    """Return the indices of the slots whose maps (M, H, W) represent all maps best, in ascending order.

    They are the medoids by Euclidean distance.
    """
    if len(maps) <= count:
        return list(range(len(maps)))
    points = maps.reshape(len(maps), -1).astype(np.float64)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    kmedoids = require('kmedoids', 'choosing representative slots')
    return sorted(map(int, kmedoids.pam(distances, count, init='build').medoids))


def check_limits(low: float, high: float) -> tuple[float, float]:
    """Return the numbers of the darkest and the brightest colour; raise ValueError unless 0 <= low < high <= 1."""
    check_float('--range', low, 0, 1)
    return low, check_float('--range', high, low, 1, above=True)


@dataclass(frozen=True)
class Panel:
    """The slots of one block.

    Args:
        title: Text above the panel.
        maps: Maps of the slots, (M, H, W).
        limits: Numbers of the darkest and the brightest colour; None for the minimum and the maximum of ``maps``.
    """

    title: str
    maps: np.ndarray
    limits: tuple[float, float] | None = None


def draw_slots(photograph: Photograph, rows: Sequence[Sequence[Panel]]) -> Picture:
    """Draw the photograph, and for each panel the maps of all slots and of four representative ones.

    Representative slots are framed and numbered among all slots, and are also shown over the photograph. Over the
    photograph, each uses the full range of colours, with its range of numbers below, unless the panel sets limits.

    Args:
        photograph: Photograph that the maps belong to.
        rows: Panels; all rows have the same number.
    """
    height, width = photograph.pixels.shape[:2]
    size = (SIDE * width / max(width, height), SIDE * height / max(width, height))
    shapes: list[Shape] = [
        Text(MARGIN, MARGIN + 14, photograph.name, 13, bold=True),
        Text(MARGIN, MARGIN + 32, f'{width} x {height} pixels', 11, fill=MUTED),
        Bitmap(MARGIN, MARGIN + HEAD, *size, photograph.pixels),
    ]
    first = MARGIN + max(size[0], _title_length(photograph.name)) + PANEL_GAP
    longest = max(_title_length(panel.title) for row in rows for panel in row)
    panel_width = max(size[0] + GAP + max(size[0], 2 * RANGE_LENGTH), longest)
    column, row_height = panel_width + PANEL_GAP, HEAD + size[1] + PANEL_GAP
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            shapes += _panel(panel, photograph.pixels, first + j * column, MARGIN + i * row_height, size)
    right, bottom = first + len(rows[0]) * column, MARGIN + len(rows) * row_height
    label = f'slots of {photograph.name}'
    return Picture(right - PANEL_GAP + MARGIN, bottom - PANEL_GAP + MARGIN, shapes, label)


def _title_length(title: str) -> float:
    return 1.1 * Text(0, 0, title, 13).length  # bold


def _panel(panel: Panel, pixels: Pixels, left: float, top: float, size: tuple[float, float]) -> list[Shape]:
    chosen = representatives(panel.maps)
    limits = panel.limits or (float(panel.maps.min()), float(panel.maps.max()))
    shapes: list[Shape] = [Text(left, top + 14, panel.title, 13, bold=True)]
    shapes += color_key(left, top + 32, *limits, COLORS)
    shapes += _all_slots(panel.maps, limits, chosen, left, top + HEAD, size)
    shapes += _representatives(panel, chosen, pixels, left + size[0] + GAP, top + HEAD, size)
    return shapes


def _all_slots(
    maps: np.ndarray,
    limits: tuple[float, float],
    chosen: Sequence[int],
    left: float,
    top: float,
    size: tuple[float, float],
) -> Iterator[Shape]:
    """Yield all maps in a grid, in which slots that start as a pooled map lie as in the image.

    The chosen maps have their numbers.
    """
    side = math.isqrt(len(maps))
    step_x, step_y = ((length + TILE_GAP) / side for length in size)
    width, height = step_x - TILE_GAP, step_y - TILE_GAP
    for i, values in enumerate(maps):
        x, y = left + i % side * step_x, top + i // side * step_y
        if i in chosen:
            yield Rect(x - FRAME, y - FRAME, width + 2 * FRAME, height + 2 * FRAME, FRAME_COLOR)
        yield Bitmap(x, y, width, height, colored(values, *limits, COLORS))
        if i in chosen:
            number = Text(x, y + NUMBER - 1, f'{i + 1}', NUMBER, fill='#ffffff', bold=True)
            yield Rect(x - FRAME, y - FRAME, 1.2 * number.length + FRAME, NUMBER + FRAME, FRAME_COLOR)
            yield number


def _representatives(
    panel: Panel, chosen: Sequence[int], pixels: Pixels, left: float, top: float, size: tuple[float, float]
) -> Iterator[Shape]:
    """Yield the chosen maps in two columns, each with its number from 1, and with its range unless limits are set."""
    height = size[1] / 2 - LABEL
    width = height * size[0] / size[1]
    for place, slot in enumerate(chosen):
        x, y = left + place % 2 * max(width + GAP, RANGE_LENGTH), top + place // 2 * size[1] / 2
        values = panel.maps[slot]
        limits = panel.limits or (float(values.min()), float(values.max()))
        yield Bitmap(x, y, width, height, overlaid(pixels, values, *limits, COLORS))
        yield Text(x, y + height + 11, f'slot {slot + 1}', SMALL, fill=MUTED)
        if panel.limits is None:
            yield Text(x, y + height + 22, range_text(*limits), SMALL, fill=MUTED)


def range_text(low: float, high: float) -> str:
    """Return two numbers with as many digits as their difference needs, from three to five."""
    texts = ('', '')
    for digits in (3, 4, 5):
        texts = f'{low:.{digits}g}', f'{high:.{digits}g}'
        if abs(float(texts[1]) - float(texts[0]) - (high - low)) <= 0.1 * (high - low):
            break
    return f'{texts[0]} to {texts[1]}'
