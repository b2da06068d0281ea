"""A drawing of an architecture, as in figure 5 of the GLiT paper: a bar for each block, with its sizes below.

The height of a bar shows the width of its block. Its orange part is the share of the mixing that is local
(convolution), and its blue part is the share that is global (attention).
"""

from collections.abc import Mapping
from dataclasses import replace

from mmhybrid.archs.base import Column, Diagram, NetworkArch
from mmhybrid.space import SearchSpace, Value
from mmhybrid.utils.checks import bad_value
from mmhybrid.visualization.picture import CHAR_WIDTH, INK, MUTED, Line, Picture, Rect, Shape, Text, Titled

LOCAL = '#e58a3c'
GLOBAL = '#3d5fa8'

FONT_SIZE = 12
ROW = 19
MARGIN = 12
BAR, BAR_GAP, COLUMN_GAP = 22.0, 3.0, 24.0
BAR_HEIGHT = 130.0
THUMBNAIL = 0.24
ABSENT = '-'
BOLD = 1.1  # ratio of the length of bold text to that of plain text


def arch_diagram(space: SearchSpace, arch: Mapping[str, Value]) -> Diagram:
    """Return the diagram of an architecture, with its resolution in the title.

    Raises:
        ValueError: If ``arch`` is not in the space, or its family has no diagrams.
    """
    network = space.decode(arch)
    if not isinstance(network, NetworkArch):
        raise bad_value('space', type(space).__name__, 'one whose networks have a diagram (NetworkArch.diagram)')
    diagram = network.diagram()
    side = space.resolution(arch)
    return diagram if side is None else replace(diagram, title=f'{diagram.title}, images of {side} pixels a side')


def draw(diagram: Diagram) -> Picture:
    """Draw a diagram with names and sizes."""
    rows = list(dict.fromkeys(name for column in diagram.columns for name in column.sizes))
    left = MARGIN + max(_length(name) for name in [diagram.unit, *rows]) + COLUMN_GAP
    base = 40 + BAR_HEIGHT
    shapes: list[Shape] = [Text(MARGIN, 20, diagram.title, 13, bold=True)]
    shapes += [
        Text(MARGIN, base + (row + 1) * ROW, name, FONT_SIZE, fill=MUTED)
        for row, name in enumerate([diagram.unit, *rows])
    ]
    scale = BAR_HEIGHT / max(block.width for block in diagram.blocks)
    for column in diagram.columns:
        bars = _bars_width(column)
        width = max(bars, BOLD * _length(column.name), *map(_length, column.sizes.values()))
        middle = left + width / 2
        shapes += _bars(column, middle - bars / 2, base, scale)
        for row, text in enumerate([column.name, *(column.sizes.get(name, ABSENT) for name in rows)]):
            color = MUTED if text == ABSENT else INK
            shapes.append(Text(middle, base + (row + 1) * ROW, text, FONT_SIZE, 'middle', color, bold=row == 0))
        left += width + COLUMN_GAP
    legend = _length('local (convolution)') + _length('global (attention)') + 3 * ROW
    width = max(left - COLUMN_GAP + MARGIN, BOLD * _length(diagram.title) + legend + 5 * MARGIN)
    shapes.append(Line([(MARGIN, base + 1), (width - MARGIN, base + 1)]))
    shapes += _legend(width - MARGIN - legend)
    return Picture(width, base + (len(rows) + 1) * ROW + MARGIN, shapes, diagram.title)


def thumbnail(diagram: Diagram) -> Picture:
    """Draw the bars of a diagram alone, in a small size."""
    height = THUMBNAIL * BAR_HEIGHT
    scale = height / max(block.width for block in diagram.blocks)
    shapes: list[Shape] = []
    left = 0.0
    for column in diagram.columns:
        shapes += _bars(column, left, height, scale, THUMBNAIL)
        left += THUMBNAIL * (_bars_width(column) + COLUMN_GAP / 2)
    return Picture(left, height, shapes, diagram.title)


def _bars(column: Column, left: float, base: float, scale: float, thickness: float = 1.0) -> list[Shape]:
    """Return the bars of a column from ``left`` onwards, standing on ``base``; ``scale`` is in pixels per channel."""
    bars: list[Shape] = []
    for i, block in enumerate(column.blocks):
        x, height = left + i * thickness * (BAR + BAR_GAP), block.width * scale
        local = block.local * height
        parts = [(base - local, local, LOCAL), (base - height, height - local, GLOBAL)]
        rects = [Rect(x, y, thickness * BAR, length, color) for y, length, color in parts if length]
        bars.append(Titled(block.title, rects))
    return bars


def _bars_width(column: Column) -> float:
    return len(column.blocks) * (BAR + BAR_GAP) - BAR_GAP


def _legend(left: float) -> list[Shape]:
    shapes: list[Shape] = []
    for text, color in (('local (convolution)', LOCAL), ('global (attention)', GLOBAL)):
        shapes += [Rect(left, 10, 12, 12, color), Text(left + ROW, 20, text, FONT_SIZE, fill=MUTED)]
        left += _length(text) + 2 * ROW
    return shapes


def _length(text: str) -> float:
    return CHAR_WIDTH * FONT_SIZE * len(text)
