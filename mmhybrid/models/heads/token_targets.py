"""What a label map says of a crop: soft labels for each position and for the whole (LV-ViT; ReLabel's RoIAlign)."""

import torch
from torch import Tensor

from mmhybrid.models.layers.basic import at_least_float32


def dense_maps(label_maps: Tensor, num_classes: int) -> Tensor:
    """Label maps (B, 2, K, H, W) of logits and their classes -> logits (B, num_classes, H, W), 0 where none was."""
    logits, classes = at_least_float32(label_maps).unbind(1)
    maps = logits.new_zeros(len(logits), num_classes, *logits.shape[-2:])
    return maps.scatter(1, classes.long(), logits)


def crop_targets(maps: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Distributions over the classes in ``height`` x ``width`` equal cells of a crop.

    Logits are averaged as RoIAlign does it (Mask R-CNN, section 3: bilinear samples, as many as a cell is wide in
    pixels of the map, pixel centres at .5), then go through a softmax.

    Args:
        maps: Logits (B, classes, H, W) over whole images.
        boxes: The crops (B, 4) as shares of the image: left, top, right, bottom.
        height: Cells of the result from top to bottom.
        width: Cells of the result from left to right.

    Returns:
        Probabilities (B, classes, height, width).
    """
    left, top, right, bottom = boxes.double().cpu().unbind(1)
    rows = _bin_weights(top, bottom, maps.shape[2], height).to(maps)
    columns = _bin_weights(left, right, maps.shape[3], width).to(maps)
    return (rows[:, None] @ maps @ columns[:, None].transpose(2, 3)).softmax(1)


def _bin_weights(low: Tensor, high: Tensor, size: int, num_bins: int) -> Tensor:
    """RoIAlign along one axis of ``size`` pixels: what each pixel counts in each bin, (B, num_bins, size)."""
    bin_size = ((high - low) * size / num_bins)[:, None, None]
    counts = bin_size.ceil().clamp_min(1)
    samples = torch.arange(int(counts.max()))
    offsets = torch.arange(num_bins)[:, None] + (samples + 0.5) / counts
    positions = ((low * size)[:, None, None] - 0.5 + offsets * bin_size).clamp(0, size - 1)
    shares = (1 - (positions[..., None] - torch.arange(size)).abs()).clamp_min(0)
    return (shares * (samples < counts)[..., None]).sum(2) / counts
