"""Soft labels of a crop, for each position and for the whole, from a label map (LV-ViT; ReLabel's RoIAlign)."""

import torch
from torch import Tensor

from mmhybrid.models.layers.basic import at_least_float32


def dense_maps(label_maps: Tensor, num_classes: int) -> Tensor:
    """Return the logits (B, num_classes, H, W) of label maps (B, 2, K, H, W), which hold K logits and their classes.

    Classes that a label map does not have get a logit of 0.
    """
    logits, classes = at_least_float32(label_maps).unbind(1)
    maps = logits.new_zeros(len(logits), num_classes, *logits.shape[-2:])
    return maps.scatter(1, classes.long(), logits)


def crop_targets(maps: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Return the distributions over the classes in ``height`` x ``width`` equal cells of a crop.

    They are the softmax of logits that are averaged as in RoIAlign (Mask R-CNN, section 3). Along each axis, the number
    of bilinear samples in a cell is its size in pixels of the map, rounded up; pixel centres are at .5.

    Args:
        maps: Logits (B, classes, H, W) of whole images.
        boxes: Crops (B, 4) as fractions of the image: left, top, right, bottom.
        height: Number of rows of cells.
        width: Number of columns of cells.

    Returns:
        Probabilities (B, classes, height, width).
    """
    left, top, right, bottom = boxes.double().cpu().unbind(1)
    rows = _bin_weights(top, bottom, maps.shape[2], height).to(maps)
    columns = _bin_weights(left, right, maps.shape[3], width).to(maps)
    return (rows[:, None] @ maps @ columns[:, None].transpose(2, 3)).softmax(1)


def _bin_weights(low: Tensor, high: Tensor, size: int, num_bins: int) -> Tensor:
    """Return RoIAlign's weight of each pixel in each bin, (B, num_bins, size), along an axis of ``size`` pixels."""
    bin_size = ((high - low) * size / num_bins)[:, None, None]
    counts = bin_size.ceil().clamp_min(1)
    samples = torch.arange(int(counts.max()))
    offsets = torch.arange(num_bins)[:, None] + (samples + 0.5) / counts
    positions = ((low * size)[:, None, None] - 0.5 + offsets * bin_size).clamp(0, size - 1)
    shares = (1 - (positions[..., None] - torch.arange(size)).abs()).clamp_min(0)
    return (shares * (samples < counts)[..., None]).sum(2) / counts
