"""The picture of the differences of all studies."""

from collections.abc import Mapping, Sequence
from typing import Any

from evidence.claims import Row
from evidence.verdicts import NOT_REPRODUCED, REPRODUCED, UNDECIDED, Ordering
from mmhybrid.visualization.charts import spanning
from mmhybrid.visualization.picture import GRID, INK, MUTED, Dot, Line, Picture, Shape, Text, Titled

COLORS = {REPRODUCED: '#0f766e', NOT_REPRODUCED: '#b42318', UNDECIDED: MUTED}
WIDTH, ROW, HEAD, FOOT = 1040, 26, 34, 46


def differences(rows: Sequence[Row], studies: Mapping[str, Mapping[str, Any]]) -> Picture:
    """Draw a line for each ordering that has been tried: its interval, and the published difference as a hollow dot."""
    tried = [
        (row, ordering, found)
        for row in rows
        if row.name in studies
        for ordering, found in zip(row.orderings, studies[row.name]['findings']['orderings'], strict=True)
        if isinstance(ordering, Ordering)
    ]
    names = [f'{row.name}: {ordering}' for row, ordering, _ in tried]
    left = 24 + max((Text(0, 0, name).length for name in names), default=0)
    published = [ordering.published for _, ordering, _ in tried if ordering.published is not None]
    x = spanning([0.0, *published, *(found[end] for *_, found in tried for end in ('low', 'high'))], left, WIDTH - 24)
    bottom = HEAD + ROW * len(tried)
    shapes: list[Shape] = [Text(24, 20, 'points between the first and the second network', 12, bold=True)]
    for tick in x.ticks(10):
        shapes += [Line([(x(tick), HEAD), (x(tick), bottom)], INK if tick == 0 else GRID)]
        shapes += [Text(x(tick), bottom + 16, f'{tick:+g}' if tick else '0', 11, 'middle', MUTED)]
    for number, (name, (_, ordering, found)) in enumerate(zip(names, tried, strict=True)):
        y, color = HEAD + ROW * (number + 0.5), COLORS[found['verdict']]
        shapes.append(Text(left - 12, y + 4, name, 12, 'end'))
        if ordering.published is not None:
            shapes.append(Dot(x(ordering.published), y, 5, '#ffffff', INK))
        title = f'{name}: {found["mean"]:+.2f} ({found["low"]:+.2f} to {found["high"]:+.2f}), {found["verdict"]}'
        interval = Line([(x(found['low']), y), (x(found['high']), y)], color, 3)
        shapes.append(Titled(title, [interval, Dot(x(found['mean']), y, 5, color)]))
    places = iter(range(24, WIDTH, 170))
    for verdict, color in COLORS.items():
        place = next(places)
        shapes += [Dot(place + 5, bottom + 35, 5, color), Text(place + 16, bottom + 39, verdict, 11)]
    place = next(places)
    shapes += [Dot(place + 5, bottom + 35, 5, '#ffffff', INK), Text(place + 16, bottom + 39, 'published', 11)]
    label = f'differences of {len(tried)} orderings with their 95 % intervals'
    return Picture(WIDTH, bottom + FOOT, shapes, label)
