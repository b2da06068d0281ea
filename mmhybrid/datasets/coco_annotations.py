"""Checks of annotation files in COCO's format, before pycocotools trusts them.

The C code of pycocotools allocates as much memory as a mask's ``size``, a polygon's coordinates or a run length ask
for, and crashes the process if they are inconsistent. https://cocodataset.org/#format-data
"""

import gc
import reprlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmhybrid.utils.files import read_json
from mmhybrid.utils.images import MOST_PIXELS

LARGEST_ID = 2**63 - 1
# Largest total length of a polygon's edges in pixels; pycocotools walks along them in steps of a fifth of a pixel.
LONGEST_OUTLINE = 2**22
# Number of characters of compressed masks that are checked together.
CHUNK = 2**17
# Largest number of characters of a run length in a compressed mask; each holds five bits.
MOST_CHARACTERS = 6


def check_annotations(path: str | Path, needed: Collection[str] = ()) -> None:
    """Raise ValueError unless a file holds consistent COCO annotations of boxes, with or without masks.

    Additional keys are allowed.

    Args:
        path: Path of the JSON file.
        needed: Keys that each annotation must have, besides those that are always required.
    """
    with _without_garbage_collection():
        content = read_json(path)
        content.setdefault('annotations', [])  # the files of test sets have no annotations
        for name in ('images', 'annotations', 'categories'):
            if not isinstance(content.get(name), list):
                raise _wrong(f'{path}: {name}', content.get(name), 'a list of objects')
        sizes = _sizes_of(path, content['images'])
        categories = _categories_of(path, content['categories'])
        _check_annotations(f'{path}: annotations', content['annotations'], sizes, categories, needed)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Turn off garbage collection, which would search millions of new objects again and again and find no garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _wrong(field: str, value: object, allowed: str) -> ValueError:
    """Return an error as :func:`mmhybrid.utils.checks.bad_value` does, for a value that may be large."""
    return ValueError(f'{field}: got {reprlib.repr(value)}, allowed: {allowed}')


def _sizes_of(path: str | Path, images: Sequence[Any]) -> dict[int, tuple[int, int]]:
    """Return height and width of each image, by its id."""
    sizes: dict[int, tuple[int, int]] = {}
    for place, image in enumerate(images):
        here = f'{path}: images[{place}]'
        number = _checked_id(here, image, sizes)
        if not isinstance(image.get('file_name'), str) or not image['file_name'] or '\0' in image['file_name']:
            raise _wrong(f'{here}.file_name', image.get('file_name'), 'a name')
        for side in ('height', 'width'):
            if not _is_int(image.get(side)) or image[side] < 1:
                raise _wrong(f'{here}.{side}', image.get(side), 'an int >= 1')
        size = image['height'], image['width']
        if size[0] * size[1] > MOST_PIXELS:
            raise _wrong(f'{here}: height and width', size, f'at most {MOST_PIXELS} pixels')
        sizes[number] = size
    return sizes


def _categories_of(path: str | Path, categories: Sequence[Any]) -> set[int]:
    known: set[int] = set()
    for place, category in enumerate(categories):
        here = f'{path}: categories[{place}]'
        known.add(_checked_id(here, category, known))
        if not isinstance(category.get('name'), str) or not category['name']:
            raise _wrong(f'{here}.name', category.get('name'), 'a name')
    return known


def _check_annotations(
    field: str,
    annotations: Sequence[Any],
    sizes: Mapping[int, tuple[int, int]],
    categories: Collection[int],
    needed: Collection[str],
) -> None:
    known: set[int] = set()
    masks = _Masks()
    for place, annotation in enumerate(annotations):
        here = f'{field}[{place}]'
        known.add(_checked_id(here, annotation, known))
        for name, others, what in (('image_id', sizes, 'image'), ('category_id', categories, 'category')):
            number = annotation.get(name)
            if not _is_int(number) or number not in others:
                raise _wrong(f'{here}.{name}', number, f'an int, the id of one of the {len(others)} of each {what}')
        _check_box(here, annotation)
        if annotation.get('iscrowd', 0) not in (0, 1):
            raise _wrong(f'{here}.iscrowd', annotation['iscrowd'], '0 or 1')
        for name in needed:
            if annotation.get(name) is None:
                raise _wrong(f'{here}.{name}', None, 'a value, which the evaluation reads')
        if segmentation := annotation.get('segmentation'):
            _check_segmentation(f'{here}.segmentation', segmentation, sizes[annotation['image_id']], masks)
    masks.check()


def _is_int(value: object) -> bool:
    return type(value) is int and -LARGEST_ID <= value <= LARGEST_ID


def _checked_id(field: str, entry: Any, known: Collection[int]) -> int:
    """Return the id of an entry, which no earlier entry may have."""
    if not isinstance(entry, dict):
        raise _wrong(field, entry, 'an object')
    number = entry.get('id')
    if not _is_int(number):
        raise _wrong(f'{field}.id', number, 'an int')
    if number in known:
        raise _wrong(f'{field}.id', number, 'an int that no entry before it has')
    assert isinstance(number, int)
    return number


def _check_box(field: str, annotation: Mapping[str, Any]) -> None:
    box, area = annotation.get('bbox'), annotation.get('area')
    if not isinstance(box, list) or len(box) != 4 or not _are_within(box, -MOST_PIXELS, MOST_PIXELS):
        allowed = f'[x, y, width, height], numbers from {-MOST_PIXELS} to {MOST_PIXELS}'
        raise _wrong(f'{field}.bbox', box, allowed)
    if box[2] < 0 or box[3] < 0:
        raise _wrong(f'{field}.bbox', box, '[x, y, width, height] with a width and a height >= 0')
    if not isinstance(area, int | float) or not 0 <= area <= MOST_PIXELS**2:
        raise _wrong(f'{field}.area', area, 'a number >= 0')


def _are_within(numbers: Sequence[Any], low: float, high: float) -> bool:
    """Return whether all values are numbers within the bounds and none is NaN; fast for long lists."""
    try:
        # sum() raises for anything but numbers; with NaN the sum is NaN, which differs from itself
        total = sum(numbers)
        return bool(min(numbers) >= low and max(numbers) <= high and total == total)
    except (TypeError, OverflowError):
        return False


def _check_segmentation(field: str, segmentation: Any, size: tuple[int, int], masks: '_Masks') -> None:
    if isinstance(segmentation, dict):
        _check_mask(field, segmentation, size, masks)
        return
    if not isinstance(segmentation, list):
        raise _wrong(field, segmentation, 'a list of polygons, or a mask with size and counts')
    side = max(size)
    for place, polygon in enumerate(segmentation):
        here = f'{field}[{place}]'
        if not isinstance(polygon, list):
            raise _wrong(here, polygon, 'a polygon, a list of numbers')
        if polygon and not _are_within(polygon, -side, 2 * side):
            value = next((item for item in polygon if not _are_within([item], -side, 2 * side)), polygon)
            raise _wrong(here, value, f'numbers from {-side} to {2 * side} in an image of {size[1]} x {size[0]} pixels')
        if len(polygon) * 3 * side > LONGEST_OUTLINE and (length := _outline(polygon)) > LONGEST_OUTLINE:
            raise _wrong(here, f'edges of {length:.0f} pixels', f'edges of {LONGEST_OUTLINE} pixels together')


def _outline(polygon: Sequence[float]) -> float:
    """Return the length of the edges that pycocotools draws, in the longer of both directions."""
    points = list(zip(polygon[::2], polygon[1::2], strict=False))
    return float(sum(max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a, b in pairwise([*points, *points[:1]])))


def _check_mask(field: str, mask: Mapping[str, Any], size: tuple[int, int], masks: '_Masks') -> None:
    given, counts = mask.get('size'), mask.get('counts')
    if not isinstance(given, list) or not all(map(_is_int, given)) or tuple(given) != size:
        raise _wrong(f'{field}.size', given, f'{list(size)}, height and width of its image')
    if isinstance(counts, str):
        masks.add(f'{field}.counts', counts, size[0] * size[1])
    elif not isinstance(counts, list) or not all(_is_int(count) and count >= 0 for count in counts):
        raise _wrong(f'{field}.counts', counts, 'a list of ints >= 0, or a string of them as pycocotools packs them')
    elif sum(counts) != size[0] * size[1]:
        raise _wrong(f'{field}.counts', f'a sum of {sum(counts)}', f'a sum of {size[0] * size[1]}, as its size says')


class _Masks:
    """Compressed masks that are checked together, since checking them one by one would take longer than all else."""

    def __init__(self) -> None:
        self._fields: list[str] = []
        self._texts: list[bytes] = []
        self._areas: list[int] = []
        self._length = 0

    def add(self, field: str, text: str, area: int) -> None:
        """Add the string of a mask with ``area`` pixels in all."""
        if not text or not text.isascii():
            raise self._wrong(field, text, area)
        self._fields.append(field)
        self._texts.append(text.encode('ascii'))
        self._areas.append(area)
        self._length += len(text)
        if self._length > CHUNK:
            self.check()

    def check(self) -> None:
        """Raise ValueError if a mask does not fit its image."""
        if self._texts:
            wrong = np.flatnonzero(~_are_whole(self._texts, np.array(self._areas)))
            if len(wrong):
                place = int(wrong[0])
                raise self._wrong(self._fields[place], self._texts[place].decode(), self._areas[place])
        self._fields, self._texts, self._areas, self._length = [], [], [], 0

    @staticmethod
    def _wrong(field: str, text: str, area: int) -> ValueError:
        return _wrong(field, text, f'run lengths as pycocotools packs them, with a sum of {area}, as its size says')


def _are_whole(texts: Sequence[bytes], areas: np.ndarray) -> np.ndarray:
    """Return for each string whether its run lengths are non-negative and add up to the area.

    Each character, minus 48, holds five bits of a number, the low bits first. Its sixth bit tells that more characters
    follow; in the last character, the fifth bit is the sign. From the fourth number on, a number is the difference to
    the run length two places before.
    """
    last_characters = np.cumsum([len(text) for text in texts]) - 1
    values = np.frombuffer(b''.join(texts), np.uint8) - np.uint8(48)  # characters below 48 wrap around to large values
    is_last = (values & 32) == 0
    found = is_last[last_characters]  # pycocotools would read beyond the end for a number that does not end
    found[np.searchsorted(last_characters, np.flatnonzero(values > 63))] = False
    is_last[last_characters] = True

    ends = np.flatnonzero(is_last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    num_characters = ends - starts + 1
    is_short = num_characters <= MOST_CHARACTERS
    numbers = np.zeros(len(ends), np.int64)
    for place in range(MOST_CHARACTERS):
        reached = np.flatnonzero(num_characters > place)
        numbers[reached] |= (values[starts[reached] + place] & 31).astype(np.int64) << (5 * place)
    numbers -= np.where(values[ends] & 16, 1 << (5 * np.minimum(num_characters, MOST_CHARACTERS)), 0)

    last = np.searchsorted(ends, last_characters)
    first = np.concatenate([[0], last[:-1] + 1])
    text_of_number = np.repeat(np.arange(len(texts)), last - first + 1)
    index = np.arange(len(numbers)) - first[text_of_number]
    runs = np.where(index == 0, numbers, 0)
    for parity in (1, 0):
        chain = np.flatnonzero((index % 2 == parity) & (index > 0))
        if len(chain):
            sums = np.cumsum(numbers[chain])
            begins = np.flatnonzero(np.diff(text_of_number[chain], prepend=-1))
            before = sums[begins] - numbers[chain][begins]
            runs[chain] = sums - np.repeat(before, np.diff(begins, append=len(chain)))
    is_fine = np.logical_and.reduceat(is_short & (runs >= 0) & (runs <= MOST_PIXELS), first)
    return found & is_fine & (np.add.reduceat(np.clip(runs, 0, MOST_PIXELS), first) == areas)
