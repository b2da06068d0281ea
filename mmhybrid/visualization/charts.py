"""The charts of a search's report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mmhybrid.search.pareto import Objective, front
from mmhybrid.space import Value
from mmhybrid.visualization.gene_effects import GeneEffect
from mmhybrid.visualization.page_parts import label
from mmhybrid.visualization.picture import GRID, INK, MUTED, Dot, Line, Picture, Rect, Shape, Text, Titled

POINT = '#9fb0c8'
MARKED = '#c2410c'
LANDMARK = '#0f766e'
BAND = '#eceff3'
# These are the colours of a choice's smallest and largest value.
LIGHT, DARK = (190, 205, 230), (32, 58, 118)


@dataclass(frozen=True)
class Scale:
    """A linear map from values in [low, high] to pixels in [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        """Return at most ``count`` + 1 round numbers within the range."""
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        steps = [power * factor for factor in (0.5, 1, 2, 5, 10)]
        wide = next(index for index, step in enumerate(steps) if step >= rough * 0.999)
        # A range narrower than the step may lie between two of its multiples, but not between two multiples of the next
        # smaller step.
        return self._multiples(steps[wide]) or self._multiples(steps[wide - 1])

    def _multiples(self, step: float) -> list[float]:
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True)
class Point:
    """A network in a chart; ``title`` appears when the mouse is over it."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Landmark:
    """A known network in a chart, with which others can be compared.

    Args:
        name: Name that is written into the chart.
        x: Cost of the network.
        y: Score of the network; None if it is unknown.
    """

    name: str
    x: float
    y: float | None


def spanning(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a scale that holds all values, with some space on both sides."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - room, high + room, start, end)


def progress_chart(
    points: Sequence[Point], objective: Objective, stages: Mapping[str, int], width: float = 1040, height: float = 300
) -> Picture:
    """Draw the score of each evaluation, and the best score so far.

    Args:
        points: Evaluations in order, with x as the number of the evaluation from 1.
        objective: Objective that y shows.
        stages: Number of evaluations of each stage, in order.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
    """
    x = Scale(0.5, max(points[-1].x, 1) + 0.5, 64, width - 16)
    y = spanning([point.y for point in points], height - 44, 40)
    shapes = _frame(x, y, 'evaluations', label(objective.name), whole_x=True)
    begin = 0.5
    for name, count in stages.items():
        if begin > 0.5:
            shapes.append(Line([(x(begin), y.start), (x(begin), y.end)], MUTED, dashed=True))
        if len(stages) > 1:
            shapes.append(Text(x(begin) + 6, y.end - 8, name, 11, fill=MUTED))
        begin += count
    best = [points[0]]
    for point in points:
        if objective.sign * point.y < objective.sign * best[-1].y:
            best.append(point)
    shapes += [_dot(x, y, point, 3.2, POINT) for point in points]
    line = _stairs([*best, replace(best[-1], x=points[-1].x)])
    shapes += [Line([(x(a), y(b)) for a, b in line], INK, 2), _dot(x, y, best[-1], 5, MARKED)]
    return Picture(width, height, shapes, f'{label(objective.name)} of each evaluation, and the best so far')


def front_chart(
    points: Sequence[Point],
    best: Point,
    cost: str,
    objective: Objective,
    bounds: Sequence[float],
    landmarks: Sequence[Landmark] = (),
    width: float = 520,
    height: float = 340,
) -> Picture:
    """Draw a score against a cost; the Pareto front is marked and joined by a line.

    Args:
        points: Networks, with the cost as x and the score as y.
        best: Network to mark, one of the points.
        cost: Name of the cost; smaller is better.
        objective: Objective that y shows.
        bounds: Bounds of the cost; those within the chart are vertical lines.
        landmarks: Known networks within the chart; those of unknown score are vertical lines.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
    """
    x = spanning([point.x for point in points], 64, width - 16)
    y = spanning([point.y for point in points], height - 44, 40)
    shapes = _frame(x, y, label(cost), label(objective.name))
    for bound in bounds:
        if x.low <= bound <= x.high:
            shapes.append(Line([(x(bound), y.start), (x(bound), y.end)], MUTED, dashed=True))
            anchor, space = ('end', -6) if bound > (x.low + x.high) / 2 else ('start', 6)
            shapes.append(Text(x(bound) + space, y.end + 8, f'bound {bound:.4g}', 11, anchor, MUTED))
    marked = [points[i] for i in front([(objective.sign * point.y, point.x) for point in points])]
    marked.sort(key=lambda point: (point.x, point.y))
    shapes += [_dot(x, y, point, 3.2, POINT) for point in points]
    shapes.append(Line([(x(a), y(b)) for a, b in _stairs(marked)], INK, 1.5))
    shapes += [_dot(x, y, point, 4, INK) for point in marked]
    shapes.append(_dot(x, y, best, 5, MARKED))
    inside = [landmark for landmark in landmarks if x.low <= landmark.x <= x.high]
    for place, landmark in enumerate(inside):
        shapes += _landmark(x, y, landmark, y.start - 8 - 13 * place)
    return Picture(width, height, shapes, f'{label(objective.name)} against {label(cost)}')


def _landmark(x: Scale, y: Scale, landmark: Landmark, base: float) -> list[Shape]:
    """Return a named vertical line at the cost, or a named dot at cost and score.

    ``base`` is the base line of the name beside a line.
    """
    place = x(landmark.x)
    anchor, space = ('end', -8) if landmark.x > (x.low + x.high) / 2 else ('start', 8)
    if landmark.y is None or not y.low <= landmark.y <= y.high:
        name = Text(place + space, base, landmark.name, 11, anchor, LANDMARK)
        return [Line([(place, y.start), (place, y.end)], LANDMARK, dashed=True), name]
    title = f'{landmark.name}: {landmark.x:.4g}, {landmark.y:.4g}'
    name = Text(place + space, y(landmark.y) - 6, landmark.name, 11, anchor, LANDMARK)
    return [Titled(title, [Dot(place, y(landmark.y), 5, LANDMARK)]), name]


def effects_chart(
    effects: Sequence[GeneEffect], objective: Objective, center: float, width: float = 1040, row: float = 30
) -> Picture:
    """Draw a row for each gene: the mean score of each of its values, on the band that chance alone spans.

    Args:
        effects: Effects of the genes in the order of the rows.
        objective: Objective whose scores were averaged.
        center: Mean score of all networks.
        width: Width of the picture in pixels.
        row: Height of a row in pixels.
    """
    left = 24 + max(Text(0, 0, effect.gene).length for effect in effects)
    orders = [' > '.join(_text(value) for value in effect.order(objective)) for effect in effects]
    right = width - 24 - max(Text(0, 0, order).length for order in [*orders, 'best > worst value'])
    height = (len(effects) + 1) * row + 46
    extremes = [center + sign * effect.chance / 2 for effect in effects for sign in (-1, 1)]
    x = spanning([*extremes, *(mean for effect in effects for mean, _ in effect.means.values())], left, right)
    y = Scale(0, 1, height - 44, row)
    shapes = _x_axis(x, y, f'mean of {label(objective.name)}')
    shapes += [Line([(x(center), y.start), (x(center), y.end)], MUTED, dashed=True)]
    shapes += [Text(right + 16, row - 8, 'best > worst value', 11, fill=MUTED)]
    for i, (effect, order) in enumerate(zip(effects, orders, strict=True)):
        middle = row * (i + 1.5)
        low, high = x(center - effect.chance / 2), x(center + effect.chance / 2)
        shapes.append(Rect(low, middle - 8, high - low, 16, BAND))
        shapes.append(Text(left - 12, middle + 4, effect.gene, 12, 'end'))
        shapes.append(Text(right + 16, middle + 4, order, 12))
        ends = [x(mean) for mean, _ in effect.means.values()]
        shapes.append(Line([(min(ends), middle), (max(ends), middle)], MUTED))
        for place, (value, (mean, count)) in enumerate(effect.means.items()):
            title = f'{effect.gene} = {_text(value)}: mean {mean:.4g} of {count} networks'
            shapes.append(Titled(title, [Dot(x(mean), middle, 6, _shade(place / (len(effect.means) - 1)))]))
    return Picture(width, height, shapes, f'mean {label(objective.name)} of the values of each choice')


def _frame(x: Scale, y: Scale, x_label: str, y_label: str, whole_x: bool = False) -> list[Shape]:
    shapes = _x_axis(x, y, x_label, whole_x)
    for tick in y.ticks(7):
        shapes.append(Line([(x.start, y(tick)), (x.end, y(tick))], GRID))
        shapes.append(Text(x.start - 8, y(tick) + 4, f'{tick:g}', 11, 'end', MUTED))
    shapes.append(Text(8, 14, y_label, 12, bold=True))
    return shapes


def _x_axis(x: Scale, y: Scale, name: str, whole: bool = False) -> list[Shape]:
    shapes: list[Shape] = []
    for tick in x.ticks(max(3, round((x.end - x.start) / 70))):
        if not whole or tick == int(tick):
            shapes.append(Line([(x(tick), y.start), (x(tick), y.end)], GRID))
            shapes.append(Text(x(tick), y.start + 16, f'{tick:g}', 11, 'middle', MUTED))
    shapes.append(Text(x.end, y.start + 36, name, 12, 'end', bold=True))
    return shapes


def _stairs(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return the corners of the line that keeps the height of each point until the next point."""
    corners = [(after.x, before.y) for before, after in pairwise(points)]
    ends = [(point.x, point.y) for point in points]
    return [ends[0], *(place for step in zip(corners, ends[1:], strict=True) for place in step)]


def _dot(x: Scale, y: Scale, point: Point, radius: float, fill: str) -> Titled:
    return Titled(point.title, [Dot(x(point.x), y(point.y), radius, fill)])


def _shade(place: float) -> str:
    """Return a colour between light and dark for a place from 0 to 1."""
    return '#' + ''.join(f'{round(a + (b - a) * place):02x}' for a, b in zip(LIGHT, DARK, strict=True))


def _text(value: Value) -> str:
    return f'{value:g}' if isinstance(value, float) else str(value)
