"""Transforms that keep an image and its label map aligned, as those of LV-ViT do.

The pipeline is ``LoadImageFromFile``, ``LoadLabelMap``, ``LabelMapFlip``, ``LabelMapRandAugment``, ``LabelMapCrop``,
transforms that move no pixels, and ``PackInputs`` with ``algorithm_keys=('label_map', 'label_map_box')``. The map stays
sparse and covers the whole image. The crop only records its box, from which ``TokenLabelHead`` computes the targets.

The released transforms record the box as (top, left, bottom, right) and read it as (left, top, right, bottom), so their
targets are those of the crop mirrored at the diagonal. Here they are those of the crop itself.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform, RandomFlip
from mmcv.transforms.utils import cache_random_params

from mmhybrid.datasets.label_maps import label_map_path, read_label_map
from mmhybrid.registry import TRANSFORMS
from mmhybrid.utils.checks import check_choice, check_list

Results = dict[str, Any]
WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)
GEOMETRIC = ('Rotate', 'Shear', 'Translate')  # the geometric operations of RandAugment
INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos')  # interpolations of MMCV


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Add ``label_map`` (2, K, H, W) and ``label_map_box``, which is (left, top, right, bottom) as shares of the image.

    Args:
        root: Folder of the label maps, see :mod:`mmhybrid.datasets.label_maps`.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def transform(self, results: Results) -> Results:
        """Read the label map of ``img_path``."""
        results['label_map'] = read_label_map(label_map_path(self.root, results['img_path']))
        results['label_map_box'] = WHOLE_IMAGE
        return results


@TRANSFORMS.register_module()
class LabelMapFlip(RandomFlip):
    """MMCV's RandomFlip, which also flips the label map."""

    def _flip(self, results: Results) -> None:
        super()._flip(results)
        left, top, right, bottom = results['label_map_box']
        if results['flip_direction'] in ('horizontal', 'diagonal'):
            results['label_map'], left, right = results['label_map'].flip(3), 1 - right, 1 - left
        if results['flip_direction'] in ('vertical', 'diagonal'):
            results['label_map'], top, bottom = results['label_map'].flip(2), 1 - bottom, 1 - top
        results['label_map_box'] = (left, top, right, bottom)


@TRANSFORMS.register_module()
class LabelMapCrop(BaseTransform):
    """A random crop of an image that has not been cropped yet; it records its box.

    Args:
        crop: Config of mmpretrain's ``RandomResizedCrop``.
    """

    def __init__(self, crop: Mapping[str, Any]) -> None:
        self.crop: Any = TRANSFORMS.build(dict(crop))

    def transform(self, results: Results) -> Results:
        """Crop ``img`` as the configured transform does, with its random numbers."""
        img, crop = results['img'], self.crop
        height, width = img.shape[:2]
        top, left, rows, columns = crop.rand_crop_params(img)
        part = img[top : top + rows, left : left + columns]
        size = tuple(crop.scale[::-1])
        results['img'] = mmcv.imresize(part, size, interpolation=crop.interpolation, backend=crop.backend)
        results['img_shape'] = results['img'].shape[:2]
        results['label_map_box'] = (left / width, top / height, (left + columns) / width, (top + rows) / height)
        return results


@TRANSFORMS.register_module()
class LabelMapRandAugment(BaseTransform):
    """RandAugment of an image that has not been cropped yet; the label map is rotated, sheared and translated with it.

    The map moves like a square image. Each position takes the classes of the nearest one; positions without a source
    have no preferred class.

    Args:
        augment: Config of mmpretrain's ``RandAugment``.
        interpolations: Interpolations from which one is drawn for each rotation, shear and translation, as timm's
            RandAugment does by default. If empty, the interpolation is that of ``augment``.
    """

    def __init__(self, augment: Mapping[str, Any], interpolations: Sequence[str] = ()) -> None:
        self.augment: Any = TRANSFORMS.build(dict(augment))
        self.interpolations = [
            check_choice('interpolations', name, INTERPOLATIONS)
            for name in check_list('interpolations', interpolations)
        ]

    def transform(self, results: Results) -> Results:
        """Augment ``img`` and ``label_map``."""
        for index in self.augment.random_policy_indices():
            operation = self.augment.transforms[index]
            if type(operation).__name__ not in GEOMETRIC:
                results = operation(results)
                continue
            if self.interpolations:
                operation.interpolation = random.choice(self.interpolations)
            with cache_random_params(operation):
                results = operation(results)
                if not operation.random_disable():
                    results['label_map'] = _moved_with(operation, results['label_map'])
        return results


def _moved_with(operation: Any, label_map: torch.Tensor) -> torch.Tensor:
    """Apply a geometric operation of RandAugment, with its current random values, to a label map."""
    kind = type(operation).__name__
    height, width = label_map.shape[2:]
    magnitude = operation.random_negative(operation.random_magnitude())
    sources = np.arange(height * width, dtype=np.float32).reshape(height, width)
    border: dict[str, Any] = {'border_value': -1, 'interpolation': 'nearest'}
    if kind == 'Rotate':
        sources = mmcv.imrotate(sources, magnitude, **border)
    elif kind == 'Shear':
        sources = mmcv.imshear(sources, magnitude, operation.direction, **border)
    else:
        side = width if operation.direction == 'horizontal' else height
        sources = mmcv.imtranslate(sources, magnitude * side, operation.direction, **border)
    indices = torch.from_numpy(sources.reshape(-1)).long()
    moved = label_map.flatten(2)[:, :, indices.clamp_min(0)]
    return moved.masked_fill(indices < 0, 0).reshape(label_map.shape)
