"""Creation of label maps with a teacher."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from torch import Tensor

from mmhybrid.datasets.label_maps import label_map_path, top_classes, write_label_map
from mmhybrid.datasets.split import IMAGE_SUFFIXES
from mmhybrid.utils.checks import bad_value, check_int
from mmhybrid.utils.images import check_image


def dense_logits(classifier: Any, inputs: Tensor) -> Tensor:
    """Return the logits of an mmpretrain classifier at each position of its last feature map.

    Neck and head are applied to each position alone. If the neck takes the mean and the head is linear, the mean of
    these logits is the classifier's logits.

    Args:
        classifier: The classifier, in eval mode.
        inputs: Preprocessed images (B, 3, H, W).

    Returns:
        Logits (B, classes, h, w).

    Raises:
        ValueError: If the backbone's last output is not a feature map, or neck and head take more than this map.
    """
    feats = classifier.extract_feat(inputs, stage='backbone')
    last = feats[-1] if isinstance(feats, Sequence) else feats
    if not isinstance(last, Tensor) or last.ndim != 4:
        allowed = "a map (B, C, H, W); some backbones take out_type='featmap' or gap_before_final_norm=False"
        shape = tuple(last.shape) if isinstance(last, Tensor) else type(last).__name__
        raise bad_value("the last output of the teacher's backbone", shape, allowed)
    batch, width, rows, columns = last.shape
    cells = last.permute(0, 2, 3, 1).reshape(-1, width, 1, 1)
    try:
        pooled = classifier.neck((cells,))[-1] if classifier.neck is not None else cells
        logits = classifier.head((pooled.flatten(1),))
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        allowed = 'a neck and a head that take single positions of the last map alone'
        raise bad_value("the teacher's neck and head", reason, allowed) from error
    return logits.reshape(batch, rows, columns, -1).permute(0, 3, 1, 2)


@torch.no_grad()
def make_label_maps(
    classifier: Any, images: Path, out: Path, size: int, batch_size: int = 32, num_kept: int = 5
) -> Iterator[Path]:
    """Write the label map of each image that has none yet.

    The teacher gets whole images, resized to a square, so that a relative position in the map is the same in the image.

    Args:
        classifier: An mmpretrain classifier with its data preprocessor, in eval mode, on any device.
        images: Folder with one folder of images for each class.
        out: Folder of the label maps.
        size: Side of the square in pixels.
        batch_size: Batch size.
        num_kept: Number of classes to keep at each position.

    Yields:
        The written files.

    Raises:
        ValueError: If there are no images, or two images would share a label map.
    """
    check_int('size', size, 1)
    check_int('batch_size', batch_size, 1)
    check_int('num_kept', num_kept, 1)
    todo = [(image, target) for image, target in _targets(images, out).items() if not target.is_file()]
    for start in range(0, len(todo), batch_size):
        batch = todo[start : start + batch_size]
        pixels = torch.stack([_squeezed(image, size) for image, _ in batch])
        inputs = classifier.data_preprocessor({'inputs': pixels})['inputs']
        label_maps = top_classes(dense_logits(classifier, inputs), num_kept)
        for (_, target), label_map in zip(batch, label_maps, strict=True):
            write_label_map(target, label_map)
            yield target


def _targets(images: Path, out: Path) -> dict[Path, Path]:
    """Return the label map's file of each image."""
    found = sorted(path for path in images.glob('*/*') if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise bad_value('images', str(images), 'a folder of class folders with images')
    targets = {image: label_map_path(out, image) for image in found}
    if len(set(targets.values())) < len(found):
        raise bad_value('images', str(images), 'images of a class whose names differ before the first dot')
    return targets


def _squeezed(image: Path, size: int) -> Tensor:
    """Return an image as (3, size, size), in BGR as MMPretrain loads it."""
    check_image(image)
    found = mmcv.imread(image)
    if found is None:
        raise ValueError(f'image {image} cannot be read')
    pixels = mmcv.imresize(found, (size, size), interpolation='bicubic', backend='pillow')
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
