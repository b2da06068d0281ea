"""Annotation files that do not fit together are refused in a sentence, before pycocotools is handed them."""

import copy
import gc
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from work import lines_run

from mmhybrid.datasets import coco_annotations
from mmhybrid.datasets.coco_annotations import check_annotations

HEIGHT, WIDTH = 12, 20
BILLION = 10**9
POLYGON = [1.0, 1.0, 9.5, 1.0, 9.5, 8.25, 1.0, 8.25]
# of 240 pixels in columns of 12: 13 outside, 10 inside, 217 outside; as pycocotools packs it
COUNTS = [13, 10, 217]


def packed(counts: list[int]) -> str:
    """Run lengths as the COCO API's ``rleToString`` packs them."""
    text = ''
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


MASK = {'size': [HEIGHT, WIDTH], 'counts': COUNTS}
PACKED = {'size': [HEIGHT, WIDTH], 'counts': packed(COUNTS)}


def document(**annotation: Any) -> dict[str, Any]:
    """Two images with a box each; the first has the keys that are given, and those of value ``...`` not."""
    first = {'id': 7, 'image_id': 3, 'category_id': 18, 'bbox': [1.0, 1, 8, 7], 'area': 56.0, 'iscrowd': 0}
    first = {name: value for name, value in {**first, **annotation}.items() if value is not ...}
    return {
        'images': [
            {'id': number, 'file_name': f'{number}.jpg', 'height': HEIGHT, 'width': WIDTH} for number in (3, 2**40)
        ],
        'annotations': [first, {**document_box(), 'id': 8, 'image_id': 2**40}],
        'categories': [{'id': 18, 'name': 'dog'}, {'id': 90, 'name': 'toothbrush', 'supercategory': 'indoor'}],
    }


def document_box() -> dict[str, Any]:
    return {'id': 7, 'image_id': 3, 'category_id': 90, 'bbox': [0, 0, 2, 2], 'area': 4, 'iscrowd': 0}


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """The document with one value changed, or taken away for ``...``."""
    content: Any = document()
    *way, last = path
    place = content
    for step in way:
        place = place[step]
    if to is ...:
        del place[last]
    else:
        place[last] = to
    return content


def written(folder: Path, content: Any) -> Path:
    path = folder / 'boxes.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


VALID = {
    'boxes': document(),
    'polygons': document(segmentation=[POLYGON, [2, 2, 3, 2, 3, 3]]),
    'a polygon a little outside': document(segmentation=[[-2.5, -1, WIDTH + 3, 0, WIDTH + 3, HEIGHT + 9]]),
    'a polygon of two points, which MMDetection leaves out': document(segmentation=[[1, 1, 2, 2]]),
    'a crowd': document(iscrowd=1, segmentation=MASK),
    'a packed mask': document(segmentation=PACKED),
    'a mask that begins inside': document(segmentation={**MASK, 'counts': [0, 240]}),
    'no segmentation': document(segmentation=[]),
    'None for none': document(segmentation=None),
    'more keys': {**document(keypoints=[0] * 51, num_keypoints=0, ignore=0), 'info': {}, 'licenses': [], 'type': 'x'},
    'a box without height': document(bbox=[1, 1, 3, 0.0]),
    'a box partly outside': document(bbox=[-5, -5, 300, 300]),
    'no boxes': {**document(), 'annotations': []},
    'a test set': {name: value for name, value in document().items() if name != 'annotations'},
    'no iscrowd': document(iscrowd=...),
}


@pytest.mark.parametrize('name', VALID)
def test_valid_files_are_taken(tmp_path: Path, name: str) -> None:
    check_annotations(written(tmp_path, VALID[name]))


def test_real_forms_are_taken(tmp_path: Path) -> None:
    """What pycocotools makes and takes: masks both ways, of any shape."""
    mask = pytest.importorskip('pycocotools.mask')
    rng = np.random.default_rng(0)
    content = document()
    for number in range(40):
        bitmap = np.asfortranarray(rng.random((HEIGHT, WIDTH)) < rng.random(), np.uint8)
        code = mask.encode(bitmap)
        segmentation = {'size': code['size'], 'counts': code['counts'].decode()}
        content['annotations'].append({**document_box(), 'id': 100 + number, 'segmentation': segmentation})
    check_annotations(written(tmp_path, content))


HOSTILE: dict[str, tuple[Any, str]] = {
    'no object': ([1, 2], 'not a JSON object'),
    'a key twice': ('{"images": [], "images": [], "annotations": [], "categories": []}', "key 'images' is there twice"),
    'no images': (changed('images', to=...), 'images: got None, allowed: a list'),
    'images of another kind': (changed('images', to={}), 'images: got {}, allowed: a list'),
    'no categories': (changed('categories', to=...), 'categories: got None'),
    'an image that is none': (changed('images', 1, to=5), r'images\[1\]: got 5, allowed: an object'),
    'an annotation that is none': (changed('annotations', 1, to='x'), r"annotations\[1\]: got 'x'"),
    'nested too deeply': ('[' * 100_000, 'nested too deeply'),
    'cut short': (json.dumps(document())[:-9], 'not JSON, perhaps truncated'),
    'an image twice': (changed('images', 1, 'id', to=3), r'images\[1\].id: got 3, allowed: an int that no entry'),
    'a category twice': (changed('categories', 1, 'id', to=18), r'categories\[1\].id: got 18'),
    'an annotation twice': (changed('annotations', 1, 'id', to=7), r'annotations\[1\].id: got 7'),
    'a mask of 10^18 pixels': (
        document(segmentation={'size': [BILLION, BILLION], 'counts': [BILLION**2]}),
        r'annotations\[0\].segmentation.size: got \[1000000000, 1000000000\], allowed: \[12, 20\]',
    ),
    'an image and a mask of 10^18 pixels': (
        {
            **document(segmentation={'size': [BILLION, BILLION], 'counts': packed([BILLION, 1])}),
            'images': [{'id': 3, 'file_name': 'a', 'height': BILLION, 'width': BILLION}],
        },
        r'images\[0\]: height and width: got \(1000000000, 1000000000\), allowed: at most 134217728 pixels',
    ),
    'a polygon far outside': (
        document(segmentation=[[0, 0, BILLION, 0, BILLION, 1e9]]),
        r'segmentation\[0\]: got 1000000000, allowed: numbers from -20 to 40 in an image of 20 x 12 pixels',
    ),
    'a polygon of words': (document(segmentation=[[1, 'x', 2, 3]]), r"segmentation\[0\]: got 'x'"),
    'a polygon with NaN': (document(segmentation=[[1, float('nan'), 2, 3]]), r'segmentation\[0\]: got nan'),
    'a polygon with an infinity': (document(segmentation=[[1, float('inf'), 2, 3]]), 'got inf'),
    'a polygon with a number of 401 digits': (document(segmentation=[[1, 10**400, 2, 3]]), 'a number of 401 digits'),
    'a polygon with None': (document(segmentation=[[1, None, 2, 3]]), 'got None'),
    'a polygon that is a number': (document(segmentation=[5]), r'segmentation\[0\]: got 5, allowed: a polygon'),
    'masks as a list': (document(segmentation=[MASK]), r'segmentation\[0\]: got {.*allowed: a polygon'),
    'a segmentation that is a word': (document(segmentation='abc'), "segmentation: got 'abc', allowed: a list of poly"),
    'edges of 10^8 pixels': (
        {
            **document(segmentation=[[0, 0, 30_000, 0] * 4000]),
            'images': [{'id': n, 'file_name': 'a', 'height': 10, 'width': 30_000} for n in (3, 2**40)],
        },
        r"segmentation\[0\]: got 'edges of 240000000 pixels', allowed: edges of 4194304",
    ),
    'run lengths that are too many': (document(segmentation={**MASK, 'counts': [13, 10, 218]}), 'got .a sum of 241'),
    'run lengths that are too few': (document(segmentation={**MASK, 'counts': [13]}), "got 'a sum of 13', allowed"),
    'run lengths below 0': (document(segmentation={**MASK, 'counts': [-10, 250]}), r'counts: got \[-10, 250\]'),
    'run lengths that are words': (document(segmentation={**MASK, 'counts': ['a']}), r"counts: got \['a'\]"),
    'run lengths that are floats': (document(segmentation={**MASK, 'counts': [240.0]}), r'counts: got \[240.0\]'),
    'no run lengths': (document(segmentation={'size': [HEIGHT, WIDTH]}), 'counts: got None'),
    'packed lengths that are too many': (
        document(segmentation={**MASK, 'counts': packed([13, 10, 218])}),
        r'segmentation.counts: got .*allowed: run lengths as pycocotools packs them, with a sum of 240',
    ),
    'packed lengths below 0': (document(segmentation={**MASK, 'counts': packed([300, -60])}), 'counts: got'),
    'packed lengths with a character too high': (document(segmentation={**MASK, 'counts': 'p'}), "counts: got 'p'"),
    'packed lengths with a character too low': (document(segmentation={**MASK, 'counts': ' '}), "counts: got ' '"),
    'packed lengths beyond ASCII': (document(segmentation={**MASK, 'counts': 'ä'}), "counts: got 'ä'"),
    'packed lengths without an end': (
        document(segmentation={**MASK, 'counts': PACKED['counts'] + 'o'}),
        'counts: got',
    ),
    'a packed length without an end': (document(segmentation={**MASK, 'counts': 'o' * 9}), "counts: got 'ooo"),
    'no packed lengths': (document(segmentation={**MASK, 'counts': ''}), "counts: got ''"),
    'a size of words': (document(segmentation={**MASK, 'size': ['12', '20']}), r"size: got \['12', '20'\]"),
    'a size of floats': (document(segmentation={**MASK, 'size': [12.0, 20.0]}), r'size: got \[12.0, 20.0\]'),
    'a size of one number': (document(segmentation={**MASK, 'size': 12}), 'size: got 12'),
    'a size the other way round': (document(segmentation={**MASK, 'size': [WIDTH, HEIGHT]}), r'size: got \[20, 12\]'),
    'a category that is not there': (document(category_id=1), 'category_id: got 1, allowed: an int, the id of one of'),
    'an image that is not there': (document(image_id=1), r'annotations\[0\].image_id: got 1, allowed'),
    'three numbers in a box': (document(bbox=[1, 2, 3]), r'bbox: got \[1, 2, 3\], allowed: \[x, y, width, height\]'),
    'a box with NaN': (document(bbox=[1, 2, float('nan'), 3]), r'bbox: got \[1, 2, nan, 3\]'),
    'a box of words': (document(bbox=['1', '2', '3', '4']), 'bbox: got'),
    'a box of 10^300': (document(bbox=[1, 2, 1e300, 3]), 'bbox: got'),
    'a box with a negative side': (document(bbox=[1, 2, -3, 4]), 'with a width and a height >= 0'),
    'a box that is a dict': (document(bbox={'x': 1}), 'bbox: got'),
    'an area below 0': (document(area=-1), 'area: got -1, allowed: a number >= 0'),
    'an area that is a word': (document(area='4'), "area: got '4'"),
    'a crowd of 2': (document(iscrowd=2), 'iscrowd: got 2, allowed: 0 or 1'),
    'a crowd that is a word': (document(iscrowd='no'), "iscrowd: got 'no'"),
    'a long value': (document(segmentation='x' * 10**6), "got 'xxx"),
    **{
        f'{name} of {value!r}': (document(**{name: value}), f'{name}: got {re.escape(repr(value))}, allowed: an int')
        for name in ('id', 'image_id', 'category_id')
        for value in ('3', None, 3.0, True, [3], 10**30)
    },
    **{
        f'no {name}': (document(**{name: ...}), rf'annotations\[0\].{name}: got None')
        for name in ('id', 'image_id', 'category_id', 'bbox', 'area')
    },
    **{
        f'an image with {name} of {value!r}': (changed('images', 0, name, to=value), rf'images\[0\].{name}: got')
        for name in ('id', 'height', 'width')
        for value in ('12', None, 12.0, True, ...)
    },
    'an image without rows': (changed('images', 0, 'height', to=0), r'images\[0\].height: got 0, allowed: an int >= 1'),
    'an image without a name': (changed('images', 0, 'file_name', to=...), 'file_name: got None, allowed: a name'),
    'a name with a zero': (changed('images', 0, 'file_name', to='a\0b'), 'file_name: got'),
    'a category without a name': (changed('categories', 0, 'name', to=...), r'categories\[0\].name: got None'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    content, sentence = HOSTILE[name]
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=sentence) as refused:
        check_annotations(path)
    assert str(refused.value).startswith(str(path))
    assert len(str(refused.value)) < 500 + len(str(path))


def test_what_an_evaluation_reads_must_be_there(tmp_path: Path) -> None:
    for key in ('iscrowd', 'segmentation'):
        path = written(tmp_path, document(**{key: ...}))
        with pytest.raises(ValueError, match=rf'annotations\[0\].{key}: got None, allowed: a value'):
            check_annotations(path, [key])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ValueError, match='is not a file'):
        check_annotations(tmp_path / 'pipe')


# Packed masks against their definition


def unpacked(text: str) -> list[int] | None:
    """Run lengths as the COCO API's ``rleFrString`` reads them, None where it would read behind the end."""
    counts: list[int] = []
    place = 0
    while place < len(text):
        number = shift = 0
        more = True
        while more:
            if place == len(text):
                return None
            code = ord(text[place]) - 48
            number |= (code & 31) << shift
            more, shift, place = bool(code & 32), shift + 5, place + 1
            if not more and code & 16:
                number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
    return counts


def is_whole(text: str, area: int) -> bool:
    counts = unpacked(text)
    return counts is not None and min(counts) >= 0 and sum(counts) == area


@given(
    st.lists(
        st.one_of(
            st.text([chr(code) for code in range(48, 112)], min_size=1, max_size=12),
            st.lists(st.integers(0, 5000), min_size=1, max_size=8).map(packed),
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_packed_lengths_are_what_they_say(texts: list[str], fits: bool) -> None:
    areas = [sum(unpacked(text) or [240]) if fits else 240 for text in texts]
    found = coco_annotations._are_whole([text.encode() for text in texts], np.array(areas))
    # lengths of more than six characters and beyond all images are refused, whatever they add up to
    for text, area, is_fine in zip(texts, areas, found, strict=True):
        if is_fine:
            assert is_whole(text, area)
        elif is_whole(text, area):
            assert re.search('[P-o]{6}', text) or area > coco_annotations.MOST_PIXELS


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=30))
def test_what_is_packed_is_whole(counts: list[int]) -> None:
    assert unpacked(packed(counts)) == counts
    text, area = packed(counts).encode(), sum(counts)
    assert coco_annotations._are_whole([text, text], np.array([area, area + 1])).tolist() == [True, False]


def test_a_mask_among_many_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever chunk it is in."""
    monkeypatch.setattr(coco_annotations, 'CHUNK', 50)
    content = document()
    content['annotations'] += [{**document_box(), 'id': 100 + n, 'segmentation': PACKED} for n in range(60)]
    check_annotations(written(tmp_path, content))
    for number in (0, 30, 59):
        wrong = copy.deepcopy(content)
        wrong['annotations'][2 + number]['segmentation'] = {**PACKED, 'counts': packed([240, 1])}
        with pytest.raises(ValueError, match=rf'annotations\[{2 + number}\].segmentation.counts'):
            check_annotations(written(tmp_path, wrong))


def test_the_work_grows_with_annotations_and_not_with_their_points(tmp_path: Path) -> None:
    """Nor is it interrupted to look for garbage among the new objects; once, at its end, they are looked through."""
    collections: list[str] = []

    def look(phase: str, about: dict[str, int]) -> None:
        collections.append(phase)

    def lines_of(number: int, points: int) -> int:
        content = document()
        for place in range(number):
            segmentation = PACKED if place % 5 == 0 else [[1.0, 2.5] * points]
            content['annotations'].append({**document_box(), 'id': 100 + place, 'segmentation': segmentation})
        path = written(tmp_path, content)
        gc.callbacks.append(look)
        try:
            return lines_run(lambda: check_annotations(path), coco_annotations)
        finally:
            gc.callbacks.remove(look)

    few = lines_of(500, 25)
    assert lines_of(500, 250) == few
    assert lines_of(5000, 25) < 10 * few
    assert collections.count('start') <= 3
