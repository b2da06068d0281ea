"""Pictures of a few plain shapes, as SVG text or as PNG; all lengths are in pixels, and y runs downwards."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

INK = '#1f2933'
MUTED = '#6b7785'
GRID = '#e3e7ec'
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
CHAR_WIDTH = 0.56  # ratio of the mean width of a character to the size of its font
ALIGN = {'start': 'left', 'middle': 'center', 'end': 'right'}
DOTS_PER_POINT = 100 / 72


class Shape(Protocol):
    """A shape in a picture."""

    def svg(self) -> str:
        """Return the SVG element."""

    def paint(self, axes: Any) -> None:
        """Add the shape to a Matplotlib Axes."""


@dataclass(frozen=True)
class Rect:
    """A filled rectangle whose upper left corner is (x, y)."""

    x: float
    y: float
    width: float
    height: float
    fill: str

    def svg(self) -> str:
        """Return the SVG element."""
        size = f'width="{_short(self.width)}" height="{_short(self.height)}"'
        return f'<rect x="{_short(self.x)}" y="{_short(self.y)}" {size} fill="{self.fill}"/>'

    def paint(self, axes: Any) -> None:
        """Add the rectangle to a Matplotlib Axes."""
        from matplotlib.patches import Rectangle

        axes.add_patch(Rectangle((self.x, self.y), self.width, self.height, facecolor=self.fill, linewidth=0))


@dataclass(frozen=True)
class Dot:
    """A filled circle with center (x, y)."""

    x: float
    y: float
    radius: float
    fill: str
    stroke: str = '#ffffff'

    def svg(self) -> str:
        """Return the SVG element."""
        place = f'cx="{_short(self.x)}" cy="{_short(self.y)}" r="{_short(self.radius)}"'
        return f'<circle {place} fill="{self.fill}" stroke="{self.stroke}"/>'

    def paint(self, axes: Any) -> None:
        """Add the circle to a Matplotlib Axes."""
        from matplotlib.patches import Circle

        axes.add_patch(Circle((self.x, self.y), self.radius, facecolor=self.fill, edgecolor=self.stroke))


@dataclass(frozen=True)
class Line:
    """Straight line segments from point to point."""

    points: Sequence[tuple[float, float]]
    stroke: str = GRID
    width: float = 1
    dashed: bool = False

    def svg(self) -> str:
        """Return the SVG element."""
        points = ' '.join(f'{_short(x)},{_short(y)}' for x, y in self.points)
        dashes = ' stroke-dasharray="4 3"' if self.dashed else ''
        style = f'fill="none" stroke="{self.stroke}" stroke-width="{_short(self.width)}"{dashes}'
        return f'<polyline points="{points}" {style}/>'

    def paint(self, axes: Any) -> None:
        """Add the line to a Matplotlib Axes."""
        width, style = self.width / DOTS_PER_POINT, '--' if self.dashed else '-'
        axes.plot(*zip(*self.points, strict=True), color=self.stroke, linewidth=width, linestyle=style)


@dataclass(frozen=True)
class Text:
    """One line of text with base line y; x is its start, middle or end, as ``anchor`` says."""

    x: float
    y: float
    text: str
    size: float = 12
    anchor: str = 'start'
    fill: str = INK
    bold: bool = False

    @property
    def length(self) -> float:
        """Approximate width of the text."""
        return CHAR_WIDTH * self.size * len(self.text)

    def svg(self) -> str:
        """Return the SVG element."""
        style = f'font-size="{_short(self.size)}" text-anchor="{self.anchor}" fill="{self.fill}"'
        weight = ' font-weight="600"' if self.bold else ''
        return f'<text x="{_short(self.x)}" y="{_short(self.y)}" {style}{weight}>{escape(self.text)}</text>'

    def paint(self, axes: Any) -> None:
        """Add the text to a Matplotlib Axes."""
        style = {'fontsize': self.size / DOTS_PER_POINT, 'fontweight': 'bold' if self.bold else 'normal'}
        align = {'ha': ALIGN[self.anchor], 'va': 'baseline'}
        axes.text(self.x, self.y, self.text, **align, color=self.fill, parse_math=False, **style)


@dataclass(frozen=True)
class Titled:
    """Shapes that show ``title`` when the mouse is over them."""

    title: str
    shapes: Sequence[Shape]

    def svg(self) -> str:
        """Return the SVG element."""
        return f'<g><title>{escape(self.title)}</title>{"".join(shape.svg() for shape in self.shapes)}</g>'

    def paint(self, axes: Any) -> None:
        """Add the shapes to a Matplotlib Axes, which shows no title."""
        for shape in self.shapes:
            shape.paint(axes)


@dataclass(frozen=True)
class Picture:
    """Shapes on a canvas.

    Args:
        width: Width of the canvas in pixels.
        height: Height of the canvas in pixels.
        shapes: Shapes from the back to the front.
        label: Description of the picture for those who cannot see it.
    """

    width: float
    height: float
    shapes: Sequence[Shape]
    label: str

    def svg(self) -> str:
        """Return an SVG element for a page."""
        return self._svg('')

    def svg_file(self) -> bytes:
        """Return the content of an SVG file."""
        return (self._svg(' xmlns="http://www.w3.org/2000/svg"') + '\n').encode()

    def png_file(self, scale: float = 2) -> bytes:
        """Return the content of a PNG file on a white ground, with ``scale`` dots per pixel."""
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        content = io.BytesIO()
        with rc_context({'text.usetex': False}):  # LaTeX would run names as programs
            figure = Figure(figsize=(self.width / 100, self.height / 100), dpi=100 * scale)
            axes = figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(self.height, 0))
            axes.axis('off')
            for shape in self.shapes:
                shape.paint(axes)
            figure.savefig(content, format='png', facecolor='white', metadata={'Software': None})
        return content.getvalue()

    def _svg(self, namespace: str) -> str:
        width, height = _short(self.width), _short(self.height)
        size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        head = f'<svg{namespace} {size} role="img" aria-label="{escape(self.label)}" font-family="{FONT}">'
        return '\n'.join([head, *(shape.svg() for shape in self.shapes), '</svg>'])


def _short(number: float) -> str:
    return f'{number:.1f}'.removesuffix('.0')
