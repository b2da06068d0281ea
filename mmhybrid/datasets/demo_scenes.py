"""Small drawn scenes with complete annotations.

A scene shows textured shapes that occlude one another on a textured ground. For classification, the square around its
largest visible object is cut out. A class is recognised by its outline and, less reliably, by its texture; colours are
drawn independently of it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from mmhybrid.datasets.demo_painting import paint
from mmhybrid.datasets.demo_shapes import CLASSES, Array, Shape, Thing, polar
from mmhybrid.utils.checks import check_choice, check_int
from mmhybrid.utils.optional import require

coco_mask = require('pycocotools.mask', 'demo data')
SPLITS = ('train', 'val')

IGNORED = 0
GROUND = 1

CROWD_RATE = 0.12
LOST_SIGNAL_RATE = 0.2
MIN_VISIBLE_AREA = 0.002  # share of the image
MIN_VISIBLE_PART = 0.25  # share of the object
DOMINANCE = 1.3  # smallest ratio of the largest object's area to the second largest
MAX_ATTEMPTS = 1000
PORTRAIT_MARGIN = 0.2  # around the largest object, as a share of its longer side


@dataclass(frozen=True)
class SceneObject:
    """An annotated object, or a crowd of one class.

    Args:
        label: Index into :data:`CLASSES`.
        mask: Visible pixels, (H, W) of bool.
        outline: Vertices (x, y) in pixels, (N, 2); None for a crowd and for an object that is not completely visible.
        is_crowd: Whether the mask covers several objects.
    """

    label: int
    mask: Array
    outline: Array | None
    is_crowd: bool

    @property
    def area(self) -> int:
        """Number of visible pixels."""
        return int(self.mask.sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the tight box around the visible pixels."""
        columns, rows = np.flatnonzero(self.mask.any(axis=0)), np.flatnonzero(self.mask.any(axis=1))
        return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


@dataclass(frozen=True)
class Scene:
    """A drawn image with its annotations.

    Args:
        image: RGB, (H, W, 3) of uint8.
        label_map: (H, W) of uint8: 0 ignored (lost signal, remains of nearly hidden objects), 1 ground, 2 + label.
        label: Class of the largest object.
        objects: Annotated objects, from back to front.
    """

    image: Array
    label_map: Array
    label: int
    objects: tuple[SceneObject, ...]

    @property
    def portrait(self) -> Array:
        """The square around the largest object, shifted into the image and resized to the size of the image, in RGB."""
        size = len(self.image)
        left, top, width, height = max(self.objects, key=lambda thing: thing.area).box
        side = min(round((1 + 2 * PORTRAIT_MARGIN) * max(width, height)), size)
        x = min(max(left + (width - side) // 2, 0), size - side)
        y = min(max(top + (height - side) // 2, 0), size - side)
        portrait: Array = cv2.resize(self.image[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
        return portrait


def draw_scene(seed: int, split: str, index: int, size: int) -> Scene:
    """Draw scene ``index`` of a split, which depends only on the arguments.

    Args:
        seed: Seed of the whole data set.
        split: ``train`` or ``val``.
        index: Index of the scene. Modulo the number of classes it is the label, so that classes are balanced.
        size: Height and width in pixels.

    Raises:
        ValueError: If an argument is wrong; the message names the argument, its value and what is allowed.
    """
    check_choice('split', split, SPLITS)
    check_int('index', index, 0)
    check_drawing(size, seed)
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    label = index % len(CLASSES)
    for _ in range(MAX_ATTEMPTS):
        things = _compose(rng, label, size)
        lost = _lose_signal(rng, size)
        objects, label_map = _annotate(things, lost, size)
        if _is_dominated(objects, label):
            return Scene(paint(rng, things, lost, size), label_map, label, objects)
    raise AssertionError(f'no scene of {CLASSES[label]} in {MAX_ATTEMPTS} attempts')


def check_drawing(size: int, seed: int) -> None:
    """Raise ValueError for a size or a seed that is out of range."""
    check_int('size', size, 32, 1024)
    check_int('seed', seed, 0)


def _compose(rng: Generator, label: int, size: int) -> list[Thing]:
    """Return one large object, some smaller ones and sometimes a crowd, from back to front."""

    def place(label: int, radii: tuple[float, float], margin: float) -> Shape:
        return Shape(
            label, rng.uniform(margin, 1 - margin, 2) * size, rng.uniform(*radii) * size, rng.uniform(0, 2 * np.pi)
        )

    things = [Thing((place(label, (0.22, 0.34), 0.3),))]
    for _ in range(rng.integers(1, 4)):
        things.append(Thing((place(_random_label(rng), (0.09, 0.2), 0.08),)))
    if rng.random() < CROWD_RATE:
        things.append(_crowd(rng, place(_random_label(rng), (0.05, 0.07), 0.2)))
    return [things[i] for i in rng.permutation(len(things))]


def _random_label(rng: Generator) -> int:
    return int(rng.integers(len(CLASSES)))


def _crowd(rng: Generator, first: Shape) -> Thing:
    """Return six to nine shapes close together around the first."""
    count = rng.integers(6, 10)
    steps = np.arange(count)
    # the arrangement of a sunflower's seeds
    places = polar(steps * 2.4, 1.35 * np.sqrt(steps)) + rng.uniform(-0.2, 0.2, (count, 2))
    angles = rng.uniform(0, 2 * np.pi, count)
    return Thing(
        tuple(
            Shape(first.label, first.centre + place * first.radius, first.radius, angle)
            for place, angle in zip(places, angles, strict=True)
        )
    )


def _lose_signal(rng: Generator, size: int) -> Array:
    """Return where a block of the image is lost, (H, W) of bool; in most scenes nothing is."""
    lost = np.zeros((size, size), dtype=bool)
    if rng.random() < LOST_SIGNAL_RATE:
        width, height = (rng.uniform([0.15, 0.05], [0.4, 0.12]) * size).astype(int)
        left, top = rng.integers(size - width), rng.integers(size - height)
        lost[top : top + height, left : left + width] = True
    return lost


def _annotate(things: list[Thing], lost: Array, size: int) -> tuple[tuple[SceneObject, ...], Array]:
    """Return the objects of which enough is visible, and the label map."""
    label_map = np.where(lost, IGNORED, GROUND).astype(np.uint8)
    free = ~lost
    objects = []
    for thing in reversed(things):
        outlines = [shape.outline() for shape in thing.shapes]
        whole = rasterise(outlines, size)
        visible = whole & free
        free &= ~whole
        if visible.sum() < max(MIN_VISIBLE_AREA * size**2, MIN_VISIBLE_PART * whole.sum()):
            label_map[visible] = IGNORED
            continue
        label_map[visible] = GROUND + 1 + thing.label
        inside = outlines[0].min() >= 0 and outlines[0].max() <= size
        in_sight = inside and not thing.is_crowd and np.array_equal(visible, whole)
        objects.append(SceneObject(thing.label, visible, outlines[0] if in_sight else None, thing.is_crowd))
    return tuple(reversed(objects)), label_map


def rasterise(outlines: list[Array], size: int) -> Array:
    """Return the pixels that COCO's tools assign to the polygons, so that annotations and label maps agree exactly."""
    codes = coco_mask.frPyObjects([outline.ravel().tolist() for outline in outlines], size, size)
    mask: Array = coco_mask.decode(codes).any(axis=2)
    return mask


def _is_dominated(objects: tuple[SceneObject, ...], label: int) -> bool:
    """Return whether the largest object is of the class, is not a crowd, and is clearly the largest."""
    ranked = sorted(objects, key=lambda thing: thing.area, reverse=True)
    if not ranked or ranked[0].label != label or ranked[0].is_crowd:
        return False
    return len(ranked) == 1 or ranked[0].area >= DOMINANCE * ranked[1].area
