"""The average precision of a detector's boxes on samples of its images, for a confidence interval.

pycocotools matches boxes image by image, and its summary depends on an image only through these matches. Images are
therefore matched once, and only the summary is computed for each sample. An image may occur several times in a sample.
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
MOST_BOXES = 100  # boxes that COCO's AP counts for each image and class
Places = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class _Matched:
    """The matches of one class in one image, with the boxes in descending order of score."""

    scores: NDArray[np.floating[Any]]  # (boxes,)
    is_found: NDArray[np.bool_]  # (thresholds, boxes)
    is_ignored: NDArray[np.bool_]
    num_objects: int  # the number of objects that are not ignored


class BoxPrecision:
    """COCO's AP (IoU 0.50 to 0.95, all areas) of boxes, on any sample of the images of an annotation file.

    Args:
        annotations: Annotation file in COCO's format.
        boxes: Detections in COCO's format of results, or a JSON file of them.
        classes: Names of the classes that count; None for all classes of the file.

    Attributes:
        num_images: Number of images in the file.

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
        """Return the AP on images, given as positions in the order of their ids.

        It is -1 if no object is on the images, as for pycocotools.
        """
        found = [precision for row in self._by_class if (precision := self._of_class(row[images])) is not None]
        return float(np.mean(found)) if found else -1.0

    def _of_class(self, parts: NDArray[np.object_]) -> NDArray[np.floating[Any]] | None:
        """Return the precision of one class (thresholds, recalls); None if no object of it is on the images."""
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
        padded = np.pad(best_behind, ((0, 0), (0, 1)))  # a recall that no score reaches has a precision of 0
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
    """Return the AP (draws, networks) of networks on bootstrap samples of the images, each as large as the image set.

    All networks are evaluated on the same samples.

    Args:
        networks: Networks with the same annotation file.
        draws: Number of samples.
        seed: Seed of the samples.
    """
    (num_images,) = {network.num_images for network in networks}
    rng = np.random.default_rng(seed)
    samples = (rng.integers(num_images, size=num_images) for _ in range(draws))
    return np.array([[network.on(images) for network in networks] for images in samples])
