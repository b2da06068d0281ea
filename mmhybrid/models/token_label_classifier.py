"""A classifier for token labelling, which mixes tokens behind its stem and learns from label maps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmhybrid.models.mix_token import MixToken, Region, swap_region
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import bad_value

STEM_STRIDE, LAST_STRIDE = 4, 32


@MODELS.register_module()
class TokenLabelClassifier(BaseModel):
    """Classifier for token labelling, whose weights have the names of an MMPretrain ``ImageClassifier``.

    In training, a rectangle of the stem's output is exchanged between images (MixToken). The rectangle consists of
    whole cells of the last map, and the head receives it too.

    Args:
        backbone: Config of a :class:`GLNet`, whose ``downsamplers[0]`` is the stem.
        head: Config of a :class:`TokenLabelHead`.
        mix_token: Arguments of :class:`MixToken`; None for no mixing.
        data_preprocessor: Config of the data preprocessor, whose type is MMPretrain's ``ClsDataPreprocessor`` by
            default.
        init_cfg: Initialisation config of MMEngine.

    Raises:
        ValueError: When called, if tokens are mixed and a side of the images is not a multiple of 32, so that a cell of
            the last map does not consist of whole cells of the stem's map.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        head: Mapping[str, Any],
        mix_token: Mapping[str, Any] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__({'type': 'mmpretrain.ClsDataPreprocessor', **(data_preprocessor or {})}, init_cfg)
        self.backbone: Any = MODELS.build(dict(backbone))
        self.head: Any = MODELS.build(dict(head))
        self.mix_token = None if mix_token is None else MixToken(**mix_token)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the backbone for images (B, 3, H, W)."""
        return self.backbone(inputs)

    def forward(self, inputs: Tensor, data_samples: Sequence[Any] | None = None, mode: str = 'tensor') -> Any:
        """Return logits (B, num_classes), or the losses with mode ``loss``, or data samples with mode ``predict``."""
        if mode == 'loss':
            return self.loss(inputs, data_samples or ())
        feats = self.extract_feat(inputs)
        return self.head.predict(feats, data_samples) if mode == 'predict' else self.head(feats)

    def loss(self, inputs: Tensor, data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """Return the losses of a batch, whose tokens are mixed."""
        region = self._region(inputs)
        if region is None:
            return self.head.loss(self.extract_feat(inputs), data_samples)
        with _swapped_output(self.backbone.downsamplers[0], region.scaled(LAST_STRIDE // STEM_STRIDE)):
            feats = self.extract_feat(inputs)
        return self.head.loss(feats, data_samples, region)

    def _region(self, inputs: Tensor) -> Region | None:
        if self.mix_token is None:
            return None
        if any(side % LAST_STRIDE for side in inputs.shape[2:]):
            raise bad_value(
                'size of the images', tuple(inputs.shape[2:]), f'multiples of {LAST_STRIDE}, with mix_token'
            )
        height, width = (side // LAST_STRIDE for side in inputs.shape[2:])
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        return self.mix_token.region(height, width, get_rank(), iteration)


@contextmanager
def _swapped_output(module: nn.Module, region: Region) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _module, _args, output: swap_region(output, region))
    try:
        yield
    finally:
        handle.remove()
