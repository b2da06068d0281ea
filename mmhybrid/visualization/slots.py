"""What GLNet's slots stand for: the pixels assigned to each (GLNet, section 4.4, figures 5 to 8)."""

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

# The dimension of the logits (B, M, L) over which the weights sum to one.
WEIGHTS = {'dispatch': 1, 'clustering': 2}

SIDE = 240.0  # the longer side of a photograph and of all maps of a block
MARGIN, GAP, PANEL_GAP = 16.0, 14.0, 34.0
HEAD, LABEL = 46.0, 27.0  # heights of a panel's head, and of the name and the range of a slot
SMALL = 9.0  # font of these
RANGE_LENGTH = 120.0  # of the longest range
TILE_GAP, FRAME, NUMBER = 3.0, 1.5, 8.0
FRAME_COLOR = '#c2410c'
COLORS = 'viridis'


@dataclass(frozen=True)
class SlotBlock:
    """A block with slots.

    Args:
        number: Among all blocks of the network, from 1, as the paper counts.
        stage: From 1.
        layer: Its slots.
    """

    number: int
    stage: int
    layer: SlotAttention

    @property
    def name(self) -> str:
        """The name that people read."""
        return f'block {self.number} (stage {self.stage})'


def slot_blocks(backbone: nn.Module) -> list[SlotBlock]:
    """The blocks of a GLNet that have slots.

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
    """The blocks with these numbers; None for the first of stage 3, or of the last stage with slots (figure 5).

    Raises:
        ValueError: Naming the blocks there are.
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
    """How much each pixel of a block's map belongs to each slot, for each block (M, H, W).

    ``weights`` are those of the dispatching, which sum to one over the slots at each pixel, or those of the clustering
    (equation 3), which sum to one over the pixels of each slot.

    Args:
        backbone: In eval mode.
        blocks: Of this backbone.
        inputs: One image, normalised, (1, 3, H, W).
        weights: One of :data:`WEIGHTS`.
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
    """The arguments that layers are called with."""
    seen: dict[nn.Module, tuple[Tensor, ...]] = {}
    handles = [layer.register_forward_pre_hook(seen.__setitem__) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def representatives(maps: np.ndarray, count: int = 4) -> list[int]:
    """The slots whose maps (M, H, W) stand best for all: the medoids, by Euclidean distance, in ascending order."""
    if len(maps) <= count:
        return list(range(len(maps)))
    points = maps.reshape(len(maps), -1).astype(np.float64)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    kmedoids = require('kmedoids', 'choosing representative slots')
    return sorted(map(int, kmedoids.pam(distances, count, init='build').medoids))


def check_limits(low: float, high: float) -> tuple[float, float]:
    """The numbers of the darkest and the brightest colour; ValueError unless 0 <= low < high <= 1."""
    check_float('--range', low, 0, 1)
    return low, check_float('--range', high, low, 1, above=True)


@dataclass(frozen=True)
class Panel:
    """The slots of one block.

    Args:
        title: What is written over it.
        maps: (M, H, W).
        limits: The numbers of the darkest and the brightest colour; None for the least and the greatest of ``maps``.
    """

    title: str
    maps: np.ndarray
    limits: tuple[float, float] | None = None


def draw_slots(photograph: Photograph, rows: Sequence[Sequence[Panel]]) -> Picture:
    """The photograph, and for each panel the maps of all slots and those of four representative ones.

    Representatives are framed and numbered among all, and shown over the photograph, there each with all colours, its
    range below, unless the panel sets limits.

    Args:
        photograph: Whose maps they are.
        rows: Panels, as many in each row.
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
    """All maps in rows, as slots that start as a pooled map lie in the image; the chosen ones with their numbers."""
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
    """Two by two, each with its number from 1 below, and with its range where it has all colours to itself."""
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
    """Two numbers with as many digits as their difference needs, from three to five."""
    texts = ('', '')
    for digits in (3, 4, 5):
        texts = f'{low:.{digits}g}', f'{high:.{digits}g}'
        if abs(float(texts[1]) - float(texts[0]) - (high - low)) <= 0.1 * (high - low):
            break
    return f'{texts[0]} to {texts[1]}'
