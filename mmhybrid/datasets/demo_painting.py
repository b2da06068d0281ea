"""The look of a scene of the demo data: colours, textures, shadows, noise, and lost signal."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from mmhybrid.datasets.demo_shapes import TEXTURES, Array, Shape, Thing

OWN_TEXTURE_RATE = 0.75
SUBPIXELS = 4


def paint(rng: Generator, things: list[Thing], lost: Array, size: int) -> Array:
    """Paint things from back to front, with noise where the signal is ``lost``; return uint8 RGB (H, W, 3)."""
    canvas = _paint_ground(rng, size)
    for thing in things:
        own = rng.random() < OWN_TEXTURE_RATE
        texture = TEXTURES[thing.label if own else rng.integers(len(TEXTURES))]
        colours = _random_colour(rng, (0.45, 0.95), (0.75, 1.0)), _random_colour(rng, (0.3, 0.95), (0.25, 0.6))
        frequency = rng.uniform(9, 13)
        for shape in thing.shapes:
            paint_shape(canvas, shape, texture, colours, frequency)
    canvas *= 1 + rng.uniform(-0.15, 0.15) * np.linspace(-1, 1, size, dtype=np.float32)[:, None]
    canvas += rng.normal(0, rng.uniform(0.01, 0.04), canvas.shape)
    canvas[lost] = rng.random((int(lost.sum()), 1))
    image: Array = np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    return image


def _paint_ground(rng: Generator, size: int) -> Array:
    """Return float32 (H, W, 3): clouds of three sizes and a faint pattern between two dull colours."""
    clouds = np.zeros((size, size), dtype=np.float32)
    for cells, weight in ((3, 0.6), (8, 0.4), (32, 0.3)):
        noise = rng.uniform(-0.5, 0.5, (cells, cells)).astype(np.float32)
        clouds += weight * cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    x, y = _local_coordinates(size, rng.uniform(0, size, 2), size, rng.uniform(0, 2 * np.pi))
    frequency = rng.uniform(15, 50)
    pattern = TEXTURES[rng.integers(len(TEXTURES))](frequency * x, frequency * y)
    mixture = 0.5 + clouds + rng.uniform(0, 0.4) * (pattern - 0.5)
    dark, light = _random_colour(rng, (0.05, 0.4), (0.2, 0.5)), _random_colour(rng, (0.05, 0.4), (0.5, 0.85))
    ground: Array = (dark + (light - dark) * mixture[..., None]).astype(np.float32)
    return ground


def _random_colour(rng: Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Array:
    """Return a colour of any hue as RGB in [0, 1]."""
    hsv = [[[rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(*value)]]]
    colour: Array = cv2.cvtColor(np.array(hsv, dtype=np.float32), cv2.COLOR_HSV2RGB)[0, 0]
    return colour


def _local_coordinates(size: int, centre: Array, radius: float, angle: float) -> tuple[Array, Array]:
    """Return (x, y) of all pixel centres in a frame at ``centre``, turned by ``angle``, in units of ``radius``."""
    steps = (np.arange(size, dtype=np.float32) + 0.5)[:, None]
    x, y = (steps.T - centre[0]) / radius, (steps - centre[1]) / radius
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def paint_shape(
    canvas: Array,
    shape: Shape,
    texture: Callable[[Array, Array], Array],
    colours: tuple[Array, Array],
    frequency: float,
) -> None:
    """Paint a shape and its soft shadow on the canvas, in place."""
    size = len(canvas)
    fine = np.zeros((size * SUBPIXELS, size * SUBPIXELS), dtype=np.uint8)
    cv2.fillPoly(fine, [np.rint(shape.outline() * SUBPIXELS - 0.5).astype(np.int32)], 1)
    cover = cv2.resize(fine.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)[..., None]
    offset = 0.1 * shape.radius
    shift = np.array([[1, 0, offset], [0, 1, offset]], dtype=np.float32)
    shadow = cv2.warpAffine(cv2.GaussianBlur(cover, (0, 0), max(offset, 0.5)), shift, (size, size))[..., None]
    canvas *= 1 - 0.5 * shadow
    x, y = _local_coordinates(size, shape.centre, shape.radius, shape.angle)
    pattern = texture(frequency * x, frequency * y)[..., None]
    light = 1.05 - 0.15 * _local_coordinates(size, shape.centre, shape.radius, np.pi / 4)[0][..., None]
    canvas += cover * ((colours[1] + (colours[0] - colours[1]) * pattern) * light - canvas)
