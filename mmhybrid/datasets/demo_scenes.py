"""Small drawn scenes to train on without a download, in the ImageNet, COCO and ADE20K layouts.

A scene shows textured shapes that hide one another on a textured ground. For classification the square around its
largest visible object is cut out. A class is known by its outline and, less surely, by its texture; colours are
drawn independently of it.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mmhybrid.datasets.split import write_split
from mmhybrid.utils.checks import check_choice, check_int
from mmhybrid.utils.files import parse_json
from mmhybrid.utils.optional import require

coco_mask = require('pycocotools.mask', 'demo data')
SPLITS = ('train', 'val')
SETTINGS_FILE = 'settings.json'
UNFINISHED_FILE = 'settings.unfinished.json'
DRAWING_VERSION = 3  # to be raised whenever the same settings come to give other scenes

IGNORED = 0
GROUND = 1

OWN_TEXTURE_RATE = 0.75
CROWD_RATE = 0.12
LOST_SIGNAL_RATE = 0.2
MIN_VISIBLE_AREA = 0.002  # of the image
MIN_VISIBLE_PART = 0.25  # of the object
DOMINANCE = 1.3  # least area of the largest object over the next one's
MAX_ATTEMPTS = 1000
SUBPIXELS = 4
JPEG_QUALITY = 90
PORTRAIT_MARGIN = 0.2  # around the largest object, of its longer side

Array = NDArray[Any]


def _polar(angles: Array, radii: float | Array) -> Array:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _rectangle(half_width: float, half_height: float) -> Array:
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [half_width, half_height]


def _crescent(offset: float, inner_radius: float) -> Array:
    """The unit disc less a smaller one whose centre is ``offset`` to the right."""
    x = (1 + offset**2 - inner_radius**2) / (2 * offset)
    outer_angle = np.arccos(x)
    inner_angle = np.arctan2(np.sin(outer_angle), x - offset)
    outer = _polar(np.linspace(outer_angle, 2 * np.pi - outer_angle, 40), 1)
    inner = _polar(np.linspace(2 * np.pi - inner_angle, inner_angle, 32), inner_radius) + [offset, 0]
    return np.concatenate([outer, inner[1:-1]])


def _cross(length: float, half_width: float) -> Array:
    arm = np.array([[length, -half_width], [length, half_width], [half_width, half_width]])
    turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([arm @ np.linalg.matrix_power(turn, quarters) for quarters in range(4)])


def _ring(inner_radius: float) -> Array:
    """One path round both circles, as polygons of COCO have no holes: the cut between them is walked both ways."""
    angles = np.linspace(0, 2 * np.pi, 41)
    return np.concatenate([_polar(angles, 1), _polar(angles[::-1], inner_radius)])


OUTLINES = {
    'bar': _rectangle(1.3, 0.36),
    'crescent': _crescent(0.55, 0.8),
    'cross': _cross(1.0, 0.34),
    'disc': _polar(np.arange(40) * 2 * np.pi / 40, 0.86),
    'ring': _ring(0.55),
    'square': _rectangle(0.78, 0.78),
    'star': _polar(np.arange(10) * 2 * np.pi / 10, np.tile([1.2, 0.52], 5)),
    'triangle': _polar(np.arange(3) * 2 * np.pi / 3, 1.15),
}
"""The outline of each class about the origin, in units of an object's radius; in alphabetical order of the classes,
which is the order that folders of the ImageNet layout are numbered in."""

CLASSES = tuple(OUTLINES)
SEGMENTATION_CLASSES = ('ground', *CLASSES)
"""The classes of the ADE layout, where label i + 1 of a map stands for class i and 0 for none of them."""


def _wave(x: Array) -> Array:
    return 0.5 + 0.5 * np.sin(x)


def _sharp(x: Array) -> Array:
    """0 below 0.5, 1 above, with a narrow passage between."""
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
"""Patterns in [0, 1] over coordinates in radians; the i-th is worn by class i more often than by the others."""


@dataclass(frozen=True)
class SceneObject:
    """An annotated object, or a crowd of one class.

    Args:
        label: Index into :data:`CLASSES`.
        mask: Its visible pixels, (H, W) of bool.
        outline: Vertices (x, y) in pixels, (N, 2), if all of it is in sight and it is no crowd.
        is_crowd: Several objects under one mask.
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
        """Left, top, width and height of the tight box of the visible pixels."""
        columns, rows = np.flatnonzero(self.mask.any(axis=0)), np.flatnonzero(self.mask.any(axis=1))
        return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


@dataclass(frozen=True)
class Scene:
    """A drawn image and all that is known of it.

    Args:
        image: RGB, (H, W, 3) of uint8.
        label_map: (H, W) of uint8: 0 ignored (lost signal, remains of nearly hidden objects), 1 ground, 2 + label.
        label: Class of the largest object.
        objects: The annotated objects, back to front.
    """

    image: Array
    label_map: Array
    label: int
    objects: tuple[SceneObject, ...]

    @property
    def portrait(self) -> Array:
        """The square around the largest object, moved where it would leave the image: RGB, as large as the image."""
        size = len(self.image)
        left, top, width, height = max(self.objects, key=lambda thing: thing.area).box
        side = min(round((1 + 2 * PORTRAIT_MARGIN) * max(width, height)), size)
        x = min(max(left + (width - side) // 2, 0), size - side)
        y = min(max(top + (height - side) // 2, 0), size - side)
        portrait: Array = cv2.resize(self.image[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
        return portrait


@dataclass(frozen=True)
class _Shape:
    label: int
    centre: Array
    radius: float
    angle: float

    def outline(self) -> Array:
        """Vertices in pixels, with the two decimals that annotations have."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = OUTLINES[CLASSES[self.label]] @ np.array([[cos, sin], [-sin, cos]])
        placed: Array = np.round(turned * self.radius + self.centre, 2)
        return placed


@dataclass(frozen=True)
class _Thing:
    """One shape, or the shapes of a crowd."""

    shapes: tuple[_Shape, ...]

    @property
    def label(self) -> int:
        return self.shapes[0].label

    @property
    def is_crowd(self) -> bool:
        return len(self.shapes) > 1


def draw_scene(seed: int, split: str, index: int, size: int) -> Scene:
    """Draw scene ``index`` of a split; it depends on the arguments alone.

    Args:
        seed: Of the whole data set.
        split: ``train`` or ``val``.
        index: Its remainder by the number of classes is the label, so that classes are balanced.
        size: Height and width in pixels.

    Raises:
        ValueError: Naming the argument, its value and what is allowed.
    """
    check_choice('split', split, SPLITS)
    check_int('index', index, 0)
    _check_drawing(size, seed)
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    label = index % len(CLASSES)
    for _ in range(MAX_ATTEMPTS):
        things = _compose(rng, label, size)
        lost = _lose_signal(rng, size)
        objects, label_map = _annotate(things, lost, size)
        if _is_dominated(objects, label):
            return Scene(_paint(rng, things, lost, size), label_map, label, objects)
    raise AssertionError(f'no scene of {CLASSES[label]} in {MAX_ATTEMPTS} attempts')


def _check_drawing(size: int, seed: int) -> None:
    check_int('size', size, 32, 1024)
    check_int('seed', seed, 0)


def _compose(rng: Generator, label: int, size: int) -> list[_Thing]:
    """One large object, some smaller ones and sometimes a crowd, back to front."""

    def place(label: int, radii: tuple[float, float], margin: float) -> _Shape:
        return _Shape(
            label, rng.uniform(margin, 1 - margin, 2) * size, rng.uniform(*radii) * size, rng.uniform(0, 2 * np.pi)
        )

    things = [_Thing((place(label, (0.22, 0.34), 0.3),))]
    for _ in range(rng.integers(1, 4)):
        things.append(_Thing((place(_random_label(rng), (0.09, 0.2), 0.08),)))
    if rng.random() < CROWD_RATE:
        things.append(_crowd(rng, place(_random_label(rng), (0.05, 0.07), 0.2)))
    return [things[i] for i in rng.permutation(len(things))]


def _random_label(rng: Generator) -> int:
    return int(rng.integers(len(CLASSES)))


def _crowd(rng: Generator, first: _Shape) -> _Thing:
    """Six to nine shapes close together round the first."""
    count = rng.integers(6, 10)
    steps = np.arange(count)
    places = _polar(steps * 2.4, 1.35 * np.sqrt(steps)) + rng.uniform(-0.2, 0.2, (count, 2))  # a sunflower's seeds
    angles = rng.uniform(0, 2 * np.pi, count)
    return _Thing(
        tuple(
            _Shape(first.label, first.centre + place * first.radius, first.radius, angle)
            for place, angle in zip(places, angles, strict=True)
        )
    )


def _lose_signal(rng: Generator, size: int) -> Array:
    """Where a block of the image is lost: (H, W) of bool, mostly all False."""
    lost = np.zeros((size, size), dtype=bool)
    if rng.random() < LOST_SIGNAL_RATE:
        width, height = (rng.uniform([0.15, 0.05], [0.4, 0.12]) * size).astype(int)
        left, top = rng.integers(size - width), rng.integers(size - height)
        lost[top : top + height, left : left + width] = True
    return lost


def _annotate(things: list[_Thing], lost: Array, size: int) -> tuple[tuple[SceneObject, ...], Array]:
    """The objects of which enough is visible, and the label map."""
    label_map = np.where(lost, IGNORED, GROUND).astype(np.uint8)
    free = ~lost
    objects = []
    for thing in reversed(things):
        outlines = [shape.outline() for shape in thing.shapes]
        whole = _rasterise(outlines, size)
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


def _rasterise(outlines: list[Array], size: int) -> Array:
    """The pixels that COCO's tools see in the polygons, so that annotations and label maps agree to the pixel."""
    codes = coco_mask.frPyObjects([outline.ravel().tolist() for outline in outlines], size, size)
    mask: Array = coco_mask.decode(codes).any(axis=2)
    return mask


def _is_dominated(objects: tuple[SceneObject, ...], label: int) -> bool:
    """Whether the largest object is of the class, no crowd, and clearly the largest."""
    ranked = sorted(objects, key=lambda thing: thing.area, reverse=True)
    if not ranked or ranked[0].label != label or ranked[0].is_crowd:
        return False
    return len(ranked) == 1 or ranked[0].area >= DOMINANCE * ranked[1].area


def _paint(rng: Generator, things: list[_Thing], lost: Array, size: int) -> Array:
    canvas = _paint_ground(rng, size)
    for thing in things:
        own = rng.random() < OWN_TEXTURE_RATE
        texture = TEXTURES[thing.label if own else rng.integers(len(TEXTURES))]
        colours = _random_colour(rng, (0.45, 0.95), (0.75, 1.0)), _random_colour(rng, (0.3, 0.95), (0.25, 0.6))
        frequency = rng.uniform(9, 13)
        for shape in thing.shapes:
            _paint_shape(canvas, shape, texture, colours, frequency)
    canvas *= 1 + rng.uniform(-0.15, 0.15) * np.linspace(-1, 1, size, dtype=np.float32)[:, None]
    canvas += rng.normal(0, rng.uniform(0.01, 0.04), canvas.shape)
    canvas[lost] = rng.random((int(lost.sum()), 1))
    image: Array = np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    return image


def _paint_ground(rng: Generator, size: int) -> Array:
    """Clouds of three sizes and a faint pattern between two dull colours: (H, W, 3) of float32."""
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
    """RGB in [0, 1] of any hue."""
    hsv = [[[rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(*value)]]]
    colour: Array = cv2.cvtColor(np.array(hsv, dtype=np.float32), cv2.COLOR_HSV2RGB)[0, 0]
    return colour


def _local_coordinates(size: int, centre: Array, radius: float, angle: float) -> tuple[Array, Array]:
    """Coordinates (x, y) of every pixel's middle in a frame at ``centre`` turned by ``angle``, in units of radius."""
    steps = (np.arange(size, dtype=np.float32) + 0.5)[:, None]
    x, y = (steps.T - centre[0]) / radius, (steps - centre[1]) / radius
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _paint_shape(
    canvas: Array,
    shape: _Shape,
    texture: Callable[[Array, Array], Array],
    colours: tuple[Array, Array],
    frequency: float,
) -> None:
    """Lay a shape and its soft shadow on the canvas, in place."""
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


def make_demo_data(
    out: str | os.PathLike[str], num_train: int = 1600, num_val: int = 100, size: int = 128, seed: int = 0
) -> bool:
    """Write the same scenes in three layouts: ``imagenet`` (cut out), ``coco`` and ``ade`` under ``out``.

    A quarter of the training scenes is named in ``imagenet/meta/search_val.txt`` as held out for searches, the others
    in ``search_train.txt``. ``settings.json`` is written last. What a killed run left is written anew.

    Args:
        out: A new or empty folder, or one that this function has written.
        num_train: Scenes for training.
        num_val: Scenes for validation.
        size: Height and width in pixels.
        seed: A scene depends on it, the split and its index, not on the number of scenes.

    Returns:
        False if ``out`` already holds exactly this.

    Raises:
        ValueError: If an argument is out of range, or ``out`` holds anything else.
    """
    _check_drawing(size, seed)
    settings = {
        'num_train': check_int('num_train', num_train, 1, 999999),
        'num_val': check_int('num_val', num_val, 1, 999999),
        'size': size,
        'seed': seed,
        'drawing_version': DRAWING_VERSION,
    }
    out = Path(out)
    if _is_finished(out, settings):
        return False
    _clear(out)
    (out / UNFINISHED_FILE).write_text(json.dumps(settings, indent=2) + '\n')
    for split, count in zip(SPLITS, (num_train, num_val), strict=True):
        _write_split(out, split, (draw_scene(seed, split, index, size) for index in range(count)))
    if num_train > 1:
        write_split(out / 'imagenet' / 'train', out / 'imagenet' / 'meta', max(num_train // 4, 1), seed)
    os.replace(out / UNFINISHED_FILE, out / SETTINGS_FILE)
    return True


def _is_finished(out: Path, settings: dict[str, int]) -> bool:
    path = out / SETTINGS_FILE
    if not path.is_file():
        return False
    try:
        found = dict(parse_json(path.read_text()))
    except (ValueError, TypeError):
        raise ValueError(f'{path}: no settings of a demo data set; remove {out} or name another folder') from None
    fields = [field for field in {**settings, **found} if found.get(field) != settings.get(field)]
    if fields:
        differences = ', '.join(f'{field} {found.get(field)} (asked for {settings.get(field)})' for field in fields)
        raise ValueError(f'{out} holds a demo data set with {differences}; remove it or name another folder')
    return True


def _clear(out: Path) -> None:
    """Make ``out`` an empty folder; what is removed is only what an unfinished run has left."""
    if out.exists() and not out.is_dir():
        raise ValueError(f'{out} is not a folder')
    out.mkdir(parents=True, exist_ok=True)
    note = out / UNFINISHED_FILE
    unfinished = note.is_file() and not note.is_symlink()  # a link would be written through, to wherever it leads
    if any(out.iterdir()) and not unfinished:
        raise ValueError(f'{out} holds other files; name a new or empty folder')
    for layout in ('imagenet', 'coco', 'ade'):
        if (out / layout).exists():
            shutil.rmtree(out / layout)


def _write_split(out: Path, split: str, scenes: Iterator[Scene]) -> None:
    imagenet, coco, ade = out / 'imagenet' / split, out / 'coco', out / 'ade'
    coco_images = coco / f'{split}2017'
    ade_split = {'train': 'training', 'val': 'validation'}[split]
    ade_images, ade_maps = ade / 'images' / ade_split, ade / 'annotations' / ade_split
    # A class without an image has a folder too: folders are numbered in order.
    class_folders = [imagenet / name for name in CLASSES]
    for folder in (*class_folders, coco_images, coco / 'annotations', ade_images, ade_maps):
        folder.mkdir(parents=True, exist_ok=True)

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, scene in enumerate(scenes):
        name = f'{split}_{index:06d}'
        (class_folders[scene.label] / f'{name}.jpg').write_bytes(_jpeg(scene.portrait))
        jpeg = _jpeg(scene.image)
        for folder in (coco_images, ade_images):
            (folder / f'{name}.jpg').write_bytes(jpeg)
        (ade_maps / f'{name}.png').write_bytes(_encode('.png', scene.label_map))
        height, width = scene.label_map.shape
        images.append({'id': index + 1, 'file_name': f'{name}.jpg', 'height': height, 'width': width})
        for thing in scene.objects:
            annotations.append({'id': len(annotations) + 1, 'image_id': index + 1, **_coco_annotation(thing)})

    document = {
        'info': {'description': 'mmhybrid demo scenes'},
        'licenses': [],
        'images': images,
        'annotations': annotations,
        'categories': [{'id': i, 'name': name, 'supercategory': 'shape'} for i, name in enumerate(CLASSES, 1)],
    }
    (coco / 'annotations' / f'instances_{split}2017.json').write_text(json.dumps(document))


def _jpeg(image: Array) -> bytes:
    return _encode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _encode(suffix: str, image: Array, options: list[int] | None = None) -> bytes:
    done, code = cv2.imencode(suffix, np.ascontiguousarray(image), options or [])
    assert done
    return code.tobytes()


def _coco_annotation(thing: SceneObject) -> dict[str, Any]:
    """Polygon if all of the object is in sight, otherwise the run lengths of what is visible."""
    if thing.outline is not None:
        segmentation: Any = [thing.outline.ravel().tolist()]
    else:
        code = coco_mask.encode(np.asfortranarray(thing.mask, dtype=np.uint8))
        segmentation = {'size': code['size'], 'counts': code['counts'].decode('ascii')}
    return {
        'category_id': thing.label + 1,
        'bbox': list(thing.box),
        'area': thing.area,
        'iscrowd': int(thing.is_crowd),
        'segmentation': segmentation,
    }
