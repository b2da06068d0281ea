"""Non-maximum suppression, hard and soft."""

import numpy as np
import torch
from torch import Tensor

from mmhybrid.mmcv_ops.precision import numpy_type, single_precision

_NAIVE, _LINEAR, _GAUSSIAN = range(3)  # methods by which soft-NMS lowers scores


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the boxes that hard NMS keeps, in descending order of their scores.

    A box is dropped if its IoU with a kept box of a higher score exceeds the threshold.

    Args:
        boxes: Boxes, (n, 4), as x1, y1, x2 and y2.
        scores: Scores, (n,). Boxes of equal scores keep their order, unlike in MMCV, whose sort is not stable.
        iou_threshold: Threshold of the IoU, which is rounded to float32 as in MMCV, so that an IoU of 0.1 does not
            exceed a threshold of 0.1.
        offset: Number that is added to widths and heights, 0 or 1.
    """
    if boxes.dtype in (torch.float16, torch.bfloat16):
        boxes = boxes.float()  # an area of 256 x 256 pixels overflows in float16
    threshold = single_precision(iou_threshold)
    if offset == 0:
        return torch.ops.torchvision.nms(boxes, scores.to(boxes.dtype), threshold)
    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1 + offset) * (y2 - y1 + offset)
    left = scores.sort(descending=True, stable=True).indices
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        width = (torch.minimum(x2[best], x2[left]) - torch.maximum(x1[best], x1[left]) + offset).clamp(min=0)
        height = (torch.minimum(y2[best], y2[left]) - torch.maximum(y1[best], y1[left]) + offset).clamp(min=0)
        shared = width * height
        overlaps = shared / (areas[best] + areas[left] - shared)
        left = left[~(overlaps > threshold)]  # the IoU of boxes without area is NaN, and they stay
    return torch.stack(kept) if kept else left


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Return the indices of the boxes that soft-NMS keeps, in descending order of their lowered scores.

    Boxes of higher scores lower the scores of boxes that overlap them; a box is dropped once its score is below
    ``min_score``. The first rows of ``dets``, (n, 5), are filled with the boxes and the lowered scores. Tensors have to
    be on the CPU, as in MMCV. Boxes of equal scores have the order that results from MMCV's swaps in its arrays.
    """
    rows = np.concatenate([boxes.detach().numpy(), scores.detach().numpy()[:, None]], axis=1, dtype=numpy_type(boxes))
    indices = np.arange(len(rows))
    done = 0
    while done < len(rows):
        best = done + _first_highest(rows[done:, 4])
        rows[[done, best]], indices[[done, best]] = rows[[best, done]], indices[[best, done]]
        done += 1
        rows[done:, 4] *= _soft_weights(rows[done - 1], rows[done:], iou_threshold, sigma, method, offset)
        stay = _filled_from_the_end(~(rows[done:, 4] < single_precision(min_score))) + done
        rows, indices = (np.concatenate([array[:done], array[stay]]) for array in (rows, indices))
    dets[: len(rows)] = torch.from_numpy(rows)
    return torch.from_numpy(indices)


def _soft_weights(
    best: np.ndarray, rows: np.ndarray, iou_threshold: float, sigma: float, method: int, offset: int
) -> np.ndarray:
    width, height = (
        np.maximum(np.minimum(best[end], rows[:, end]) - np.maximum(best[start], rows[:, start]) + offset, 0)
        for start, end in ((0, 2), (1, 3))
    )
    shared = width * height
    areas = (rows[:, 2] - rows[:, 0] + offset) * (rows[:, 3] - rows[:, 1] + offset)
    area = (best[2] - best[0] + offset) * (best[3] - best[1] + offset)
    with np.errstate(invalid='ignore', divide='ignore'):  # boxes without area
        overlaps = shared / (area + areas - shared)
    if method == _GAUSSIAN:
        return np.exp(-(overlaps * overlaps) / single_precision(sigma))
    lowered = 1 - overlaps if method == _LINEAR else np.zeros_like(overlaps)
    return np.where(overlaps >= single_precision(iou_threshold), lowered, np.ones_like(overlaps))


def _first_highest(scores: np.ndarray) -> int:
    """Return the index of the first of the highest scores; as in MMCV, a NaN is the highest only if it is the first."""
    return 0 if np.isnan(scores[0]) else int(np.nanargmax(scores))


def _filled_from_the_end(stays: np.ndarray) -> np.ndarray:
    """Return the indices of the elements that stay, after each other element is replaced by the last that stays."""
    count = int(stays.sum())
    order = np.arange(count)
    fillers = count + np.flatnonzero(stays[count:])[::-1]
    order[np.flatnonzero(~stays[:count])] = fillers
    return order
