"""Drawn scenes in the ImageNet, COCO and ADE20K layouts, to train on without a download."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmhybrid.datasets.demo_scenes import SPLITS, Scene, SceneObject, check_drawing, coco_mask, draw_scene
from mmhybrid.datasets.demo_shapes import CLASSES, Array
from mmhybrid.datasets.split import write_split
from mmhybrid.utils.checks import check_int
from mmhybrid.utils.files import parse_json

SETTINGS_FILE = 'settings.json'
UNFINISHED_FILE = 'settings.unfinished.json'
DRAWING_VERSION = 3  # must be raised whenever the same settings give other scenes
JPEG_QUALITY = 90


def make_demo_data(
    out: str | os.PathLike[str], num_train: int = 1600, num_val: int = 100, size: int = 128, seed: int = 0
) -> bool:
    """Write the same scenes in three layouts under ``out``: ``imagenet`` (cut out), ``coco`` and ``ade``.

    A quarter of the training scenes is listed in ``imagenet/meta/search_val.txt`` as held out for searches, the others
    in ``search_train.txt``. ``settings.json`` is written last. The files of an interrupted run are written again.

    Args:
        out: A new or empty folder, or one that this function has written.
        num_train: Number of training scenes.
        num_val: Number of validation scenes.
        size: Height and width in pixels.
        seed: Seed of the scenes. A scene depends on the seed, its split and its index, but not on the number of scenes.

    Returns:
        Whether anything was written; False if ``out`` already holds exactly this data set.

    Raises:
        ValueError: If an argument is out of range, or ``out`` holds anything else.
    """
    check_drawing(size, seed)
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
    """Make ``out`` an empty folder; only the files of an unfinished run are removed."""
    if out.exists() and not out.is_dir():
        raise ValueError(f'{out} is not a folder')
    out.mkdir(parents=True, exist_ok=True)
    note = out / UNFINISHED_FILE
    unfinished = note.is_file() and not note.is_symlink()  # a link would be written through, wherever it leads
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
    # A class without an image has a folder too, since labels number the folders in order.
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
    """Return a polygon if all of the object is visible, otherwise the run lengths of the visible part."""
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
