"""Photographs, and grids of numbers as colours."""

import io
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from mmhybrid.visualization.picture import MUTED, Shape, Text

Pixels = np.ndarray
KEY_SIZE = (64.0, 8.0)


@dataclass(frozen=True)
class Bitmap:
    """Pixels (H, W, 3), red, green and blue from 0 to 255, stretched over a rectangle with upper left corner (x, y)."""

    x: float
    y: float
    width: float
    height: float
    pixels: Pixels

    def svg(self) -> str:
        """Return the SVG element, which holds the pixels as PNG."""
        png = io.BytesIO()
        Image.fromarray(self.pixels).save(png, format='png')
        size = f'x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" height="{self.height:g}"'
        data = b64encode(png.getvalue()).decode()
        return f'<image {size} preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'

    def paint(self, axes: Any) -> None:
        """Add the bitmap to a Matplotlib Axes."""
        extent = (self.x, self.x + self.width, self.y + self.height, self.y)
        # Bitmaps have the order of rectangles; by default, all other shapes would lie above them.
        axes.imshow(self.pixels, extent=extent, aspect='auto', zorder=1)


def colored(values: np.ndarray, low: float, high: float, colors: str) -> Pixels:
    """Return numbers (H, W) as colours of Matplotlib's map ``colors``, from dark at ``low`` to bright at ``high``."""
    from matplotlib import colormaps

    shares = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return colormaps[colors](np.clip(shares, 0, 1), bytes=True)[..., :3]


def overlaid(
    photograph: Pixels, values: np.ndarray, low: float, high: float, colors: str, opacity: float = 0.6
) -> Pixels:
    """Return numbers (h, w) as colours over a grey photograph (H, W, 3), interpolated to its size."""
    grid = torch.from_numpy(values).float()[None, None]
    smooth = F.interpolate(grid, photograph.shape[:2], mode='bicubic', align_corners=False)[0, 0].numpy()
    grey = photograph.mean(-1, keepdims=True)
    mixed = (1 - opacity) * grey + opacity * colored(smooth, low, high, colors)
    return mixed.round().astype(np.uint8)


def color_key(left: float, base: float, low: float, high: float, colors: str) -> list[Shape]:
    """Return a bar of all colours between the numbers of the first and the last colour."""
    first = Text(left, base, f'{low:.3g}', 11, fill=MUTED)
    start = left + first.length + 8
    bar = Bitmap(start, base - KEY_SIZE[1], *KEY_SIZE, colored(np.linspace(0, 1, 64)[None], 0, 1, colors))
    return [first, bar, Text(start + KEY_SIZE[0] + 8, base, f'{high:.3g}', 11, fill=MUTED)]
