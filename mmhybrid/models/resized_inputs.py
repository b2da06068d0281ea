"""Images that are resized to the resolution of a network after they are normalised."""

from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseDataPreprocessor
from torch import Tensor
from torch.nn import functional as F

from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import bad_value, check_int


def resized(images: Tensor, size: int) -> Tensor:
    """Return images (B, C, H, W) resized to (B, C, size, size) by bilinear interpolation with antialiasing."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode='bilinear', align_corners=False, antialias=True)


def resized_batch(images: Tensor, samples: Any, size: int) -> tuple[Tensor, Any]:
    """Return images (B, C, H, W) as :func:`resized` does, and their samples with the boxes of these images.

    Samples of detectors are copied, because the same ones may be asked for in another size. Those of classifiers stay,
    and those of segmentors too, because logits are resized to the size that their labels have.

    Raises:
        ValueError: If images of a detector or segmentor are not square: the shapes in them would change.
    """
    listed = samples if isinstance(samples, list | tuple) else []
    if images.shape[-2] != images.shape[-1] and any(map(_is_dense, listed)):
        raise bad_value('images', tuple(images.shape[-2:]), 'square ones (Pad), for several resolutions')
    if images.shape[-2:] == (size, size) or not any(map(_has_boxes, listed)):
        return resized(images, size), samples
    return resized(images, size), [_resized_sample(sample, size / images.shape[-1]) for sample in listed]


def _is_dense(sample: Any) -> bool:
    return _has_boxes(sample) or hasattr(type(sample), 'gt_sem_seg')


def _has_boxes(sample: Any) -> bool:
    return hasattr(type(sample), 'gt_instances')


def _resized_sample(sample: Any, factor: float) -> Any:
    """Return a copy of a detector's sample for an image that is resized by ``factor``."""
    sample = sample.clone()
    shapes = {
        name: tuple(round(factor * side) for side in sample.metainfo[name][:2])
        for name in ('img_shape', 'pad_shape', 'batch_input_shape')
        if name in sample
    }
    scales = tuple(factor * scale for scale in sample.metainfo.get('scale_factor', (1.0, 1.0)))
    sample.set_metainfo({**shapes, 'scale_factor': scales})
    for instances in (sample.get('gt_instances'), sample.get('ignored_instances')):
        if instances is not None and 'bboxes' in instances:
            instances.bboxes = instances.bboxes * factor
        if instances is not None and 'masks' in instances:
            masks = instances.masks
            instances.masks = masks.resize((round(factor * masks.height), round(factor * masks.width)))
    return sample


@MODELS.register_module()
class ResizedInputs(BaseDataPreprocessor):
    """Data preprocessor that resizes the images of another data preprocessor.

    A supernet whose space has several resolutions resizes each batch to the resolution of its architecture. With this
    preprocessor, an exported network sees the same images as in the supernet, with the same pipeline.

    Args:
        size: Side of the images in pixels.
        preprocessor: Config of the data preprocessor that runs first.
        batch_augments: Argument of the first preprocessor, which MMPretrain's classifiers set.
    """

    def __init__(
        self, size: int, preprocessor: Mapping[str, Any], batch_augments: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.size = check_int('size', size, 1)
        augments = {} if batch_augments is None else {'batch_augments': batch_augments}
        self.first = MODELS.build({**preprocessor, **augments})

    def forward(self, data: Any, training: bool = False) -> Any:
        """Run the first preprocessor, and resize the images and their boxes."""
        data = self.first(data, training)
        images, samples = resized_batch(data['inputs'], data.get('data_samples'), self.size)
        return {**data, 'inputs': images, **({'data_samples': samples} if 'data_samples' in data else {})}
