"""Holding out part of a training set, class by class."""

import os
import random
from pathlib import Path

from mmhybrid.utils.checks import bad_value, check_int
from mmhybrid.utils.files import drop_link_outward, write_whole

IMAGE_SUFFIXES = frozenset({'.jpg', '.jpeg', '.png', '.bmp', '.webp'})


def split_classes(sizes: list[int], num_held_out: int) -> list[int]:
    """Return how many images of each class are held out: in proportion to the class's size, ``num_held_out`` in all.

    The proportions are rounded down. The remaining images go to the classes with the largest remainders, the first of
    equal ones first.
    """
    total = sum(sizes)
    exact = [size * num_held_out / total for size in sizes]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: num_held_out - sum(counts)]:
        counts[i] += 1
    return counts


def write_split(train: Path, out: Path, num_held_out: int, seed: int) -> dict[str, int]:
    """Write ``search_train.txt`` and ``search_val.txt`` with lines of ``class/image label``.

    Args:
        train: Folder with one folder of images for each class; labels number these in alphabetical order, as in
            MMPretrain.
        out: Folder of the two files; each file is replaced as a whole.
        num_held_out: Number of images in ``search_val.txt``.
        seed: Seed of the choice.

    Returns:
        Number of images in each file.

    Raises:
        ValueError: If there are no images, ``num_held_out`` leaves no training image, or a name cannot be in a line.
    """
    if not train.is_dir():
        raise bad_value('train', str(train), 'a folder of class folders')
    classes = sorted(path.name for path in train.iterdir() if path.is_dir())
    images = [_images(train / name) for name in classes]
    total = sum(map(len, images))
    if not total:
        raise bad_value('train', str(train), 'a folder of class folders with images')
    check_int('num_held_out', num_held_out, 1, total - 1)

    rng = random.Random(seed)
    lines: dict[str, list[str]] = {'search_train.txt': [], 'search_val.txt': []}
    counts = split_classes([len(names) for names in images], num_held_out)
    for label, (name, names, count) in enumerate(zip(classes, images, counts, strict=True)):
        held_out = set(rng.sample(names, count))
        for image in names:
            target = 'search_val.txt' if image in held_out else 'search_train.txt'
            lines[target].append(f'{name}/{image} {label}\n')
    out.mkdir(parents=True, exist_ok=True)
    for file, text in lines.items():
        drop_link_outward(out / file)
        write_whole(out / file, ''.join(text))
    return {file: len(text) for file, text in lines.items()}


def _images(folder: Path) -> list[str]:
    """Return the names of the images in a class folder, without pipes, which training would wait for."""
    with os.scandir(folder) as entries:  # scandir knows which entries are files without a query for each
        names = sorted(
            entry.name
            for entry in entries
            if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES
            and (entry.is_file(follow_symlinks=False) or (entry.is_symlink() and Path(entry).is_file()))
        )
    for name in names:
        line = f'{folder.name}/{name}'
        if line.splitlines() != [line] or line != line.lstrip() or line != line.encode(errors='replace').decode():
            raise bad_value('train', line, 'names in UTF-8 without line breaks, and without a space in front')
    return names
