"""Outlines and textures of the classes of the demo data, and the placement of shapes in a scene."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def polar(angles: Array, radii: float | Array) -> Array:
    """Return points (N, 2) at these angles and distances from the origin."""
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _rectangle(half_width: float, half_height: float) -> Array:
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [half_width, half_height]


def _crescent(offset: float, inner_radius: float) -> Array:
    """Return the unit disc without a smaller disc whose centre is ``offset`` to the right."""
    x = (1 + offset**2 - inner_radius**2) / (2 * offset)
    outer_angle = np.arccos(x)
    inner_angle = np.arctan2(np.sin(outer_angle), x - offset)
    outer = polar(np.linspace(outer_angle, 2 * np.pi - outer_angle, 40), 1)
    inner = polar(np.linspace(2 * np.pi - inner_angle, inner_angle, 32), inner_radius) + [offset, 0]
    return np.concatenate([outer, inner[1:-1]])


def _cross(length: float, half_width: float) -> Array:
    arm = np.array([[length, -half_width], [length, half_width], [half_width, half_width]])
    turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([arm @ np.linalg.matrix_power(turn, quarters) for quarters in range(4)])


def _ring(inner_radius: float) -> Array:
    """Return one path around both circles with a cut between them, since polygons of COCO have no holes."""
    angles = np.linspace(0, 2 * np.pi, 41)
    return np.concatenate([polar(angles, 1), polar(angles[::-1], inner_radius)])


OUTLINES = {
    'bar': _rectangle(1.3, 0.36),
    'crescent': _crescent(0.55, 0.8),
    'cross': _cross(1.0, 0.34),
    'disc': polar(np.arange(40) * 2 * np.pi / 40, 0.86),
    'ring': _ring(0.55),
    'square': _rectangle(0.78, 0.78),
    'star': polar(np.arange(10) * 2 * np.pi / 10, np.tile([1.2, 0.52], 5)),
    'triangle': polar(np.arange(3) * 2 * np.pi / 3, 1.15),
}
"""Outline of each class around the origin, in units of an object's radius. The classes are in alphabetical order, in
which labels number the folders of the ImageNet layout."""

CLASSES = tuple(OUTLINES)
SEGMENTATION_CLASSES = ('ground', *CLASSES)
"""Classes of the ADE layout. In a label map, i + 1 stands for class i, and 0 for no class."""


def _wave(x: Array) -> Array:
    return 0.5 + 0.5 * np.sin(x)


def _sharp(x: Array) -> Array:
    """Return 0 below 0.5 and 1 above, with a narrow transition between."""
    return np.clip((x - 0.5) * 4 + 0.5, 0, 1)


def _zigzag(x: Array) -> Array:
    return np.abs(x / np.pi % 2 - 1) * np.pi


TEXTURES: tuple[Callable[[Array, Array], Array], ...] = (
    lambda x, y: _sharp(_wave(x)),  # stripes
    lambda x, y: _wave(x + 1.5 * np.sin(0.8 * y)),  # ripples
    lambda x, y: _sharp(0.5 + np.sin(0.7 * x) * np.sin(0.7 * y)),  # checks
    lambda x, y: _sharp(_wave(x) * _wave(y) * 1.4),  # dots
    lambda x, y: _sharp(_wave(1.3 * np.hypot(x, y))),  # rings
    lambda x, y: _sharp(np.maximum(_wave(x), _wave(y)) * 0.62),  # grid
    lambda x, y: _sharp(_wave(x + _zigzag(y))),  # zigzag
    lambda x, y: _wave(0.25 * x),  # shading
)
"""Patterns in [0, 1] over coordinates in radians. Class i has the i-th texture more often than other classes do."""


@dataclass(frozen=True)
class Shape:
    """A shape of a class, with its centre and radius in pixels and its angle in radians."""

    label: int
    centre: Array
    radius: float
    angle: float

    def outline(self) -> Array:
        """Return the vertices in pixels, rounded to two decimals as in annotations."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = OUTLINES[CLASSES[self.label]] @ np.array([[cos, sin], [-sin, cos]])
        placed: Array = np.round(turned * self.radius + self.centre, 2)
        return placed


@dataclass(frozen=True)
class Thing:
    """One shape, or the shapes of a crowd."""

    shapes: tuple[Shape, ...]

    @property
    def label(self) -> int:
        """The class."""
        return self.shapes[0].label

    @property
    def is_crowd(self) -> bool:
        """Whether there are several shapes."""
        return len(self.shapes) > 1
