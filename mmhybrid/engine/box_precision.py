"""The average precision of a detector's boxes on samples of its images, for an interval around it.

pycocotools matches boxes image by image, and what it sums up knows of an image only what was matched there. So images
are matched once, and only the sum is made anew for each sample. An image may be in a sample several times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

EVERY_AREA = [0.0, 1e10]
MOST_BOXES = 100  # of an image and a class, as COCO's AP counts
Places = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class _Matched:
    """What was matched of one class in one image: of each box, highest score first, whether at each threshold."""

    scores: NDArray[np.floating[Any]]  # (boxes,)
    is_found: NDArray[np.bool_]  # (thresholds, boxes)
    is_ignored: NDArray[np.bool_]
    num_objects: int  # that count


class BoxPrecision:
    """COCO's AP (0.50 to 0.95, all areas) of boxes, on any sample of the images of an annotation file.

    Args:
        annotations: The file, in COCO's format.
        boxes: The detections in COCO's format of results, or a JSON file of them.
        classes: Names of the classes that count; None for all of the file.

    Attributes:
        num_images: Of the file.

    Raises:
        ValueError: If a class is not in the file.
    """

    def __init__(
        self, annotations: str | Path, boxes: Sequence[Mapping[str, Any]] | str, classes: Sequence[str] | None = None
    ) -> None:
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(boxes), 'bbox')
        names = {category['name']: category['id'] for category in truth.dataset['categories']}
        if unknown := [name for name in classes or () if name not in names]:
            raise ValueError(f'{annotations}: categories: there is no {unknown[0]!r}')
        settings = evaluation.params
        settings.catIds = [names[name] for name in (names if classes is None else classes)]
        settings.areaRng, settings.areaRngLbl, settings.maxDets = [EVERY_AREA], ['all'], [MOST_BOXES]
        evaluation.evaluate()
        self._recalls = settings.recThrs
        self.num_images = len(settings.imgIds)
        rows = np.empty(len(evaluation.evalImgs), object)
        rows[:] = [None if found is None else _matched(found) for found in evaluation.evalImgs]
        self._by_class = rows.reshape(len(settings.catIds), self.num_images)

    def on(self, images: Places) -> float:
        """AP on images, given as places in the order of their ids; -1 if they show no object, as pycocotools has it."""
        found = [precision for row in self._by_class if (precision := self._of_class(row[images])) is not None]
        return float(np.mean(found)) if found else -1.0

    def _of_class(self, parts: NDArray[np.object_]) -> NDArray[np.floating[Any]] | None:
        """(thresholds, recalls): the precision of one class; None if the images show none of it."""
        shown: list[_Matched] = [part for part in parts if part is not None]
        num_objects = sum(part.num_objects for part in shown)
        if num_objects == 0:
            return None
        order = np.argsort(-np.concatenate([part.scores for part in shown]), kind='stable')
        is_found = np.concatenate([part.is_found for part in shown], axis=1)[:, order]
        counts = ~np.concatenate([part.is_ignored for part in shown], axis=1)[:, order]
        right, wrong = (np.cumsum(kind & counts, axis=1).astype(float) for kind in (is_found, ~is_found))
        precisions = right / (right + wrong + np.spacing(1))
        best_behind = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
        padded = np.pad(best_behind, ((0, 0), (0, 1)))  # what no score reaches has a precision of 0
        return np.stack(
            [
                row[np.searchsorted(recall, self._recalls, side='left')]
                for row, recall in zip(padded, right / num_objects, strict=True)
            ]
        )


def _matched(found: Mapping[str, Any]) -> _Matched:
    ignored = np.asarray(found['gtIgnore'], bool)
    return _Matched(
        np.asarray(found['dtScores'], float)[:MOST_BOXES],
        np.asarray(found['dtMatches'])[:, :MOST_BOXES] > 0,
        np.asarray(found['dtIgnore'], bool)[:, :MOST_BOXES],
        int((~ignored).sum()),
    )


def precisions_on_samples(networks: Sequence[BoxPrecision], draws: int, seed: int = 0) -> NDArray[np.floating[Any]]:
    """(draws, networks): AP of networks on the same images, drawn anew with replacement, as many as there are.

    Args:
        networks: Of the same annotation file.
        draws: How many samples.
        seed: Of the draws.
    """
    (num_images,) = {network.num_images for network in networks}
    rng = np.random.default_rng(seed)
    samples = (rng.integers(num_images, size=num_images) for _ in range(draws))
    return np.array([[network.on(images) for network in networks] for images in samples])
