"""AP on samples of images, against pycocotools on sets that are built anew with each image as often as it was drawn."""

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmhybrid.engine.box_precision import BoxPrecision, precisions_on_samples

NUM_IMAGES, NUM_CLASSES = 30, 4


def made(seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Objects, crowds among them, and detections: some near an object, some beside, many of equal scores."""
    rng = np.random.default_rng(seed)
    images = [{'id': 7 * i + 3, 'file_name': f'{i}.jpg', 'height': 200, 'width': 200} for i in range(NUM_IMAGES)]
    objects: list[dict[str, Any]] = []
    boxes = []
    for image in images:
        for _ in range(rng.integers(0, 6)):
            x, y, w, h = (*rng.uniform(0, 120, 2), *rng.uniform(10, 80, 2))
            entry = {'id': len(objects) + 1, 'image_id': image['id'], 'category_id': int(rng.integers(1, 4))}
            crowd = int(rng.random() < 0.1)
            objects.append({**entry, 'bbox': [x, y, w, h], 'area': w * h, 'iscrowd': crowd})
            for _ in range(rng.integers(0, 4)):
                near = [value + rng.normal(0, 4) for value in (x, y, w, h)]
                kind = entry['category_id'] if rng.random() < 0.8 else int(rng.integers(1, NUM_CLASSES + 1))
                score = float(np.round(rng.random(), 1))
                boxes.append({'image_id': image['id'], 'category_id': kind, 'bbox': near, 'score': score})
    categories = [{'id': i, 'name': f'c{i}'} for i in range(1, NUM_CLASSES + 1)]  # there is no object of the last
    return {'images': images, 'annotations': objects, 'categories': categories}, boxes


def built_anew(
    content: dict[str, Any], boxes: list[dict[str, Any]], sample: np.ndarray
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Each image that was drawn under an id of its own, with copies of its objects and detections."""
    images, objects, found = [], [], []
    ids = sorted(image['id'] for image in content['images'])
    for new, place in enumerate(sample, start=1):
        images.append({'id': new, 'file_name': f'{new}.jpg', 'height': 200, 'width': 200})
        own = [entry for entry in content['annotations'] if entry['image_id'] == ids[place]]
        objects += [{**entry, 'id': len(objects) + 1 + i, 'image_id': new} for i, entry in enumerate(own)]
        found += [{**box, 'image_id': new} for box in boxes if box['image_id'] == ids[place]]
    return {**content, 'images': images, 'annotations': objects}, found


def published(content: dict[str, Any], boxes: list[dict[str, Any]]) -> float:
    """AP as pycocotools sums it up."""
    truth = COCO()
    truth.dataset = copy.deepcopy(content)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(boxes)), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / 'objects.json'
    path.write_text(json.dumps(made()[0]))
    return path


def test_samples_are_as_sets_built_anew(written: Path) -> None:
    content, boxes = made()
    network = BoxPrecision(written, boxes)
    assert network.num_images == NUM_IMAGES
    whole = np.arange(NUM_IMAGES)
    assert 0.1 < network.on(whole) < 0.9
    assert network.on(whole) == pytest.approx(published(content, boxes), abs=1e-12)
    rng = np.random.default_rng(1)
    found = []
    for size in (NUM_IMAGES, NUM_IMAGES, NUM_IMAGES, 5, 1):
        sample = rng.integers(NUM_IMAGES, size=size)
        found.append(network.on(sample))
        assert found[-1] == pytest.approx(published(*built_anew(content, boxes, sample)), abs=1e-12)
    assert len(set(found)) == 5


def test_networks_are_compared_on_the_same_samples(written: Path) -> None:
    content, boxes = made()
    fewer = [box for i, box in enumerate(boxes) if i % 5]
    networks = [BoxPrecision(written, boxes), BoxPrecision(written, fewer), BoxPrecision(written, boxes)]
    found = precisions_on_samples(networks, draws=20)
    assert found.shape == (20, 3)
    assert np.array_equal(found[:, 0], found[:, 2])
    assert not np.array_equal(found[:, 0], found[:, 1])
    assert np.array_equal(found, precisions_on_samples(networks, draws=20))
    sample = np.random.default_rng(0).integers(NUM_IMAGES, size=NUM_IMAGES)
    assert found[0, 1] == pytest.approx(published(*built_anew(content, fewer, sample)), abs=1e-12)


def test_images_without_objects(tmp_path: Path, written: Path) -> None:
    content, boxes = made()
    network = BoxPrecision(written, boxes)
    ids = sorted(image['id'] for image in content['images'])
    empty = ids.index(next(i for i in ids if all(entry['image_id'] != i for entry in content['annotations'])))
    assert network.on(np.array([empty])) == -1
    with pytest.raises(ValueError, match="categories: there is no 'cow'"):
        BoxPrecision(written, boxes, classes=['c1', 'cow'])
    one = BoxPrecision(written, boxes, classes=['c1'])
    assert one.on(np.arange(NUM_IMAGES)) != network.on(np.arange(NUM_IMAGES))
