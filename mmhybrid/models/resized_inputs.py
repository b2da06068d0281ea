"""Images at the resolution of a network, resized where they are normalised."""

from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseDataPreprocessor
from torch import Tensor
from torch.nn import functional as F

from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import check_int


def resized(images: Tensor, size: int) -> Tensor:
    """Images (B, C, H, W) as (B, C, size, size); bilinear, without aliasing."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode='bilinear', align_corners=False, antialias=True)


@MODELS.register_module()
class ResizedInputs(BaseDataPreprocessor):
    """Another data preprocessor, and its images resized.

    A supernet whose space has several resolutions resizes each batch to that of its architecture. With this, a network
    taken out of it sees the same images behind the same pipeline.

    Args:
        size: Pixels a side.
        preprocessor: Config of the data preprocessor that comes first.
        batch_augments: Set by mmpretrain's classifiers, for the same.
    """

    def __init__(
        self, size: int, preprocessor: Mapping[str, Any], batch_augments: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.size = check_int('size', size, 1)
        augments = {} if batch_augments is None else {'batch_augments': batch_augments}
        self.first = MODELS.build({**preprocessor, **augments})

    def forward(self, data: Any, training: bool = False) -> Any:
        """Preprocess as the first preprocessor does, and resize ``inputs``."""
        data = self.first(data, training)
        return {**data, 'inputs': resized(data['inputs'], self.size)}
