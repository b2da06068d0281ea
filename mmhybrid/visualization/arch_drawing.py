"""An architecture as a picture, as in figure 5 of the GLiT paper: a bar for each block, its sizes below.

A bar is as high as its block is wide. Its orange part is the share of its mixing that is local (convolution), its blue
part the share that is global (attention).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmhybrid.space import AutoViTSpace, GLiTSpace, GLNetSpace, SearchSpace, Value
from mmhybrid.utils.checks import bad_value
from mmhybrid.visualization.picture import CHAR_WIDTH, INK, MUTED, Line, Picture, Rect, Shape, Text, Titled

LOCAL = '#e58a3c'
GLOBAL = '#3d5fa8'
# Of GLNet's mixers; those with two parts count as half and half.
LOCAL_SHARE = {
    'local': 1.0,
    **dict.fromkeys(('glmix', 'global-local', 'local-global', 'window-global'), 0.5),
    'mhsa': 0.0,
    'global': 0.0,
}

FONT_SIZE = 12
ROW = 19
MARGIN = 12
BAR, BAR_GAP, STAGE_GAP = 22.0, 3.0, 24.0
BAR_HEIGHT = 130.0
THUMBNAIL = 0.24
ABSENT = '-'
BOLD = 1.1  # length of bold text over that of plain text


@dataclass(frozen=True)
class Block:
    """One bar.

    Args:
        title: What it is, for the mouse over it.
        width: Channels.
        local: Share of its mixing that is local, from 0 to 1.
    """

    title: str
    width: int
    local: float


@dataclass(frozen=True)
class Stage:
    """Blocks that share their sizes.

    Args:
        name: Head of its column.
        blocks: In order.
        sizes: What is written below, row name to text.
    """

    name: str
    blocks: tuple[Block, ...]
    sizes: Mapping[str, str]


@dataclass(frozen=True)
class Diagram:
    """All that is drawn of a network.

    Args:
        title: The family, and what holds for the whole network.
        unit: What a column is, ``stage`` or ``block``.
        stages: In order.
    """

    title: str
    unit: str
    stages: tuple[Stage, ...]

    @property
    def blocks(self) -> list[Block]:
        """The blocks of all stages."""
        return [block for stage in self.stages for block in stage.blocks]


def autovit_diagram(arch: Mapping[str, Any]) -> Diagram:
    """A column for the stem and each stage, a bar for each MBConv and each transformer layer.

    The convolutions within transformer stages have no choices and are not drawn.
    """
    stem = arch['stem_width']
    widths = arch['conv_widths']
    depths = arch.get('conv_depths', [1] * len(widths))
    kernels = arch.get('conv_kernels', [3] * len(widths))
    layer = 'convolution' if arch.get('transformer_only') else 'MBConv'
    stages = [Stage('stem', (Block(f'stem: convolution, {stem} channels', stem, 1),), {'width': f'{stem}'})]
    for i, (width, depth, kernel) in enumerate(zip(widths, depths, kernels, strict=True), start=1):
        block = Block(f'convolution stage {i}: {layer}, kernel {kernel}, {width} channels', width, 1)
        sizes = {'width': f'{width}', 'layers': f'{depth}', 'kernel': f'{kernel}'}
        stages.append(Stage(f'conv {i}', (block,) * depth, sizes))
    fields = ('embed_dims', 'depths', 'num_heads', 'mlp_ratios')
    for i, (width, depth, heads, ratio) in enumerate(zip(*(arch[name] for name in fields), strict=True), start=1):
        title = f'transformer stage {i}: attention of {heads} heads, MLP ratio {ratio:g}, {width} channels'
        sizes = {'width': f'{width}', 'layers': f'{depth}', 'heads': f'{heads}', 'MLP ratio': f'{ratio:g}'}
        stages.append(Stage(f'transformer {i}', (Block(title, width, 0),) * depth, sizes))
    return Diagram('AutoViT', 'stage', tuple(stages))


def glit_diagram(arch: Mapping[str, Any]) -> Diagram:
    """A column and a bar for each block; heads that attend within windows are local ones, as convolutions are."""
    width, heads = arch['embed_dims'], arch['num_heads']
    windows = arch.get('locality') == 'window'
    local, size = ('window', 'window') if windows else ('conv', 'kernel')
    stages = []
    for i, block in enumerate(arch['blocks'], start=1):
        attention = block['num_attn_heads']
        conv = heads - attention
        sizes = {'attention heads': f'{attention}', f'{local} heads': f'{conv}', 'MLP ratio': f'{block["mlp_ratio"]:g}'}
        if attention:
            sizes['qkv ratio'] = f'{block["qkv_ratio"]:g}'
        if conv:
            sizes |= {f'{local} ratio': f'{block["conv_ratio"]:g}', size: f'{block["kernel_size"]}'}
        title = f'block {i}: {", ".join(f"{name} {text}" for name, text in sizes.items())}'
        stages.append(Stage(f'{i}', (Block(title, width, conv / heads),), sizes))
    return Diagram(f'GLiT, {width} channels', 'block', tuple(stages))


def glnet_diagram(arch: Mapping[str, Any]) -> Diagram:
    """A column for each stage, a bar for each block."""
    stages = []
    for i, mixers in enumerate(arch['mixers']):
        width, kernel, slots = arch['embed_dims'][i], arch['local_kernels'][i], arch['num_slots'][i]
        sizes = {'width': f'{width}', 'blocks': f'{len(mixers)}', 'FFN ratio': f'{arch["ffn_ratios"][i]:g}'}
        if {'glmix', 'local'}.intersection(mixers):
            sizes['kernel'] = f'{kernel}'
        if {'glmix', 'global'}.intersection(mixers):
            sizes['slots'] = f'{slots}'
        blocks = (
            Block(f'stage {i + 1}, block {j}: {mixer}, {width} channels', width, LOCAL_SHARE[mixer])
            for j, mixer in enumerate(mixers, start=1)
        )
        stages.append(Stage(f'{i + 1}', tuple(blocks), sizes))
    flags = {
        'overlapped_patches': 'overlapped patches',
        'pos_encoding': 'position encoding',
        'conv_ffn': 'convolution in the FFN',
        'learned_slots': 'learned slots',
    }
    title = ', '.join(['GLNet', *(text for flag, text in flags.items() if arch.get(flag))])
    return Diagram(title, 'stage', tuple(stages))


# From the ``arch`` argument of a space's backbone to its diagram; a family of your own is drawn once it is added here.
FAMILIES: dict[type[SearchSpace], Callable[[Mapping[str, Any]], Diagram]] = {
    AutoViTSpace: autovit_diagram,
    GLiTSpace: glit_diagram,
    GLNetSpace: glnet_diagram,
}


def arch_diagram(space: SearchSpace, arch: Mapping[str, Value]) -> Diagram:
    """What to draw of an arch.

    Raises:
        ValueError: If ``arch`` is not in the space, or the space's family is not one of :data:`FAMILIES`.
    """
    family = next((FAMILIES[base] for base in type(space).__mro__ if base in FAMILIES), None)
    if family is None:
        raise bad_value('space', type(space).__name__, f'one of {[known.__name__ for known in FAMILIES]}, to be drawn')
    diagram = family(space.decode(arch)['arch'])
    side = space.resolution(arch)
    return diagram if side is None else replace(diagram, title=f'{diagram.title}, images of {side} pixels a side')


def draw(diagram: Diagram) -> Picture:
    """The picture, with names and sizes."""
    rows = list(dict.fromkeys(name for stage in diagram.stages for name in stage.sizes))
    left = MARGIN + max(_length(name) for name in [diagram.unit, *rows]) + STAGE_GAP
    base = 40 + BAR_HEIGHT
    shapes: list[Shape] = [Text(MARGIN, 20, diagram.title, 13, bold=True)]
    shapes += [
        Text(MARGIN, base + (row + 1) * ROW, name, FONT_SIZE, fill=MUTED)
        for row, name in enumerate([diagram.unit, *rows])
    ]
    scale = BAR_HEIGHT / max(block.width for block in diagram.blocks)
    for stage in diagram.stages:
        bars = _bars_width(stage)
        column = max(bars, BOLD * _length(stage.name), *map(_length, stage.sizes.values()))
        middle = left + column / 2
        shapes += _bars(stage, middle - bars / 2, base, scale)
        for row, text in enumerate([stage.name, *(stage.sizes.get(name, ABSENT) for name in rows)]):
            color = MUTED if text == ABSENT else INK
            shapes.append(Text(middle, base + (row + 1) * ROW, text, FONT_SIZE, 'middle', color, bold=row == 0))
        left += column + STAGE_GAP
    legend = _length('local (convolution)') + _length('global (attention)') + 3 * ROW
    width = max(left - STAGE_GAP + MARGIN, BOLD * _length(diagram.title) + legend + 5 * MARGIN)
    shapes.append(Line([(MARGIN, base + 1), (width - MARGIN, base + 1)]))
    shapes += _legend(width - MARGIN - legend)
    return Picture(width, base + (len(rows) + 1) * ROW + MARGIN, shapes, diagram.title)


def thumbnail(diagram: Diagram) -> Picture:
    """The bars alone, small."""
    height = THUMBNAIL * BAR_HEIGHT
    scale = height / max(block.width for block in diagram.blocks)
    shapes: list[Shape] = []
    left = 0.0
    for stage in diagram.stages:
        shapes += _bars(stage, left, height, scale, THUMBNAIL)
        left += THUMBNAIL * (_bars_width(stage) + STAGE_GAP / 2)
    return Picture(left, height, shapes, diagram.title)


def _bars(stage: Stage, left: float, base: float, scale: float, thickness: float = 1.0) -> list[Shape]:
    """From ``left`` on, standing on ``base``; ``scale`` is pixels a channel."""
    bars: list[Shape] = []
    for i, block in enumerate(stage.blocks):
        x, height = left + i * thickness * (BAR + BAR_GAP), block.width * scale
        local = block.local * height
        parts = [(base - local, local, LOCAL), (base - height, height - local, GLOBAL)]
        rects = [Rect(x, y, thickness * BAR, length, color) for y, length, color in parts if length]
        bars.append(Titled(block.title, rects))
    return bars


def _bars_width(stage: Stage) -> float:
    return len(stage.blocks) * (BAR + BAR_GAP) - BAR_GAP


def _legend(left: float) -> list[Shape]:
    shapes: list[Shape] = []
    for text, color in (('local (convolution)', LOCAL), ('global (attention)', GLOBAL)):
        shapes += [Rect(left, 10, 12, 12, color), Text(left + ROW, 20, text, FONT_SIZE, fill=MUTED)]
        left += _length(text) + 2 * ROW
    return shapes


def _length(text: str) -> float:
    return CHAR_WIDTH * FONT_SIZE * len(text)
