"""Holding out images of a detection or segmentation training set for a search."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from mmhybrid.datasets.coco_annotations import check_annotations
from mmhybrid.utils.checks import bad_value, check_int
from mmhybrid.utils.files import drop_link_outward, read_json, write_whole

PARTS = ('search_train', 'search_val')


def split_coco(annotations: Path, out: Path, num_held_out: int, seed: int) -> dict[str, int]:
    """Split a file in COCO's format into ``search_train.json`` and ``search_val.json``.

    The choice of held-out images depends only on their file names and the seed. Entries with the same file name stay
    together, whatever their ids, and so do images and their annotations. All other content of the file is in both
    files.

    Args:
        annotations: Path of the file.
        out: Folder of the two files. It is created if it does not exist; each file is replaced as a whole.
        num_held_out: Number of image files in ``search_val.json``.
        seed: Seed of the choice.

    Returns:
        Number of images in each file.

    Raises:
        ValueError: If the file is not in COCO's format or is inconsistent, or ``num_held_out`` leaves no training
            image.
    """
    check_annotations(annotations)
    content = read_json(annotations)
    held_out = _held_out((_normal(image['file_name']) for image in content['images']), num_held_out, seed)
    places = {image['id']: _normal(image['file_name']) in held_out for image in content['images']}
    parts = {}
    for name, is_held_out in zip(PARTS, (False, True), strict=True):
        images = [image for image in content['images'] if places[image['id']] is is_held_out]
        entries = [entry for entry in content.get('annotations', []) if places[entry['image_id']] is is_held_out]
        parts[f'{name}.json'] = (len(images), {**content, 'images': images, 'annotations': entries})
    return _write(out, parts, lambda part: json.dumps(part) + '\n')


def split_segmentation(
    images: Path, maps: Path, out: Path, num_held_out: int, seed: int, image_suffix: str, map_suffix: str
) -> dict[str, int]:
    """Write ``search_train.txt`` and ``search_val.txt`` with the names of images, for MMSegmentation's ``ann_file``.

    Args:
        images: Folder of the training images, including those in subfolders.
        maps: Folder of their label maps, with the same names.
        out: Folder of the two files. It is created if it does not exist; each file is replaced as a whole.
        num_held_out: Number of images in ``search_val.txt``.
        seed: Seed of the choice, which depends only on the names and the seed.
        image_suffix: Suffix of the names of images, which the files omit.
        map_suffix: Suffix of the names of maps.

    Returns:
        Number of images in each file.

    Raises:
        ValueError: If there are no images, one has no map or a name that cannot be in a line, or ``num_held_out``
            leaves no training image.
    """
    for field, folder in (('images', images), ('maps', maps)):
        if not folder.is_dir():
            raise bad_value(field, str(folder), 'a folder')
    found = sorted(path for path in images.rglob('*') if path.name.endswith(image_suffix) and path.is_file())
    names = [path.relative_to(images).as_posix().removesuffix(image_suffix) for path in found]
    if not names:
        raise bad_value('images', str(images), f'a folder with images whose names end in {image_suffix}')
    for name in names:
        check_line('images', name)
        if not (maps / f'{name}{map_suffix}').is_file():
            raise ValueError(f'maps: {maps / f"{name}{map_suffix}"} of the image {name}{image_suffix} does not exist')
    held_out = _held_out(names, num_held_out, seed)
    parts = {
        f'{part}.txt': (len(lines), lines)
        for part, lines in zip(
            PARTS,
            ([name for name in names if name not in held_out], [name for name in names if name in held_out]),
            strict=True,
        )
    }
    return _write(out, parts, lambda lines: ''.join(f'{line}\n' for line in lines))


def check_line(field: str, name: str) -> None:
    """Raise ValueError for the name of an image that cannot be in a line of a text file."""
    if name.splitlines() != [name] or name != name.strip() or name != name.encode(errors='replace').decode():
        raise bad_value(field, name, 'names in UTF-8 without line breaks, and without a space at either end')


def _held_out(names: Iterable[str], count: int, seed: int) -> set[str]:
    """Return ``count`` of the names, whatever their order."""
    all_names = sorted(set(names))
    if len(all_names) < 2:
        raise bad_value('images', all_names, 'two at least, one of them to train on')
    check_int('num_held_out', count, 1, len(all_names) - 1)
    return set(random.Random(seed).sample(all_names, count))


def _normal(file_name: str) -> str:
    return str(PurePosixPath(file_name))


def _write(out: Path, parts: dict[str, tuple[int, Any]], text: Callable[[Any], str]) -> dict[str, int]:
    out.mkdir(parents=True, exist_ok=True)
    for file, (_, part) in parts.items():
        drop_link_outward(out / file)
        write_whole(out / file, text(part))
    return {file: count for file, (count, _) in parts.items()}
