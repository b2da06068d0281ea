"""A head for token labelling: class logits for the image, and logits for each position of the last map."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmhybrid.models.heads.token_targets import crop_targets, dense_maps
from mmhybrid.models.layers.basic import at_least_float32, with_contiguous_grad
from mmhybrid.models.mix_token import Region, swap_region
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import bad_value, check_float, check_int


@MODELS.register_module()
class TokenLabelHead(BaseModule):
    """GLNet's head for token labelling: two linear layers, on the mean over the last map and on each of its pixels.

    As in the released code, both layers learn from the teacher's label map and not from the ground-truth label. The
    target of the class logits is the mean of the label map over the crop, and the target at each position is the part
    of the label map at that position.

    Args:
        num_classes: Number of classes of the label maps.
        in_channels: Channels of the last map.
        dense_weight: Weight of the loss of the positions; the loss of the class logits has weight 1.
        label_smooth_val: Label smoothing of all targets.
        aux_weight: Factor of the maximum of each class's logits over the positions, which inference adds to the class
            logits. The release uses 0.5; 0 adds nothing.
        init_cfg: Initialisation config of MMEngine; None for a truncated normal distribution of standard deviation
            0.02.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        dense_weight: float = 0.5,
        label_smooth_val: float = 0.1,
        aux_weight: float = 0.5,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or {'type': 'TruncNormal', 'layer': 'Linear', 'std': 0.02})
        self.num_classes = check_int('num_classes', num_classes, 1)
        self.dense_weight = check_float('dense_weight', dense_weight, 0)
        self.label_smooth_val = check_float('label_smooth_val', label_smooth_val, 0, 1)
        self.aux_weight = check_float('aux_weight', aux_weight, 0)
        self.fc = nn.Linear(check_int('in_channels', in_channels, 1), num_classes)
        self.aux_fc = nn.Linear(in_channels, num_classes)

    def class_logits(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)."""
        return self.fc(x.mean((2, 3)))

    def token_logits(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes, H, W)."""
        return self.aux_fc(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Return the logits (B, num_classes) for inference from the last of the backbone's maps."""
        x = with_contiguous_grad(feats[-1])
        logits = self.class_logits(x)
        if not self.aux_weight:
            return logits
        return logits + self.aux_weight * self.token_logits(x).amax((2, 3))

    def loss(
        self, feats: Sequence[Tensor], data_samples: Sequence[Any], region: Region | None = None
    ) -> dict[str, Tensor]:
        """Return the cross-entropies of both kinds of logits with the label maps.

        Args:
            feats: Maps of the backbone, of which the last one is used.
            data_samples: Samples with ``label_map`` (2, K, H, W) and ``label_map_box``, as ``mmhybrid.LoadLabelMap``
                writes them.
            region: Cells of the last map that come from the batch in reverse order (MixToken). Their logits are moved
                back to their own image, and the class targets of both images are mixed in the ratio of the areas.

        Raises:
            ValueError: If a sample has no label map, or its label map has a class beyond ``num_classes``.
        """
        x = with_contiguous_grad(feats[-1])
        class_target, token_target = self._targets(data_samples, x)
        token_logits = self.token_logits(x)
        if region is not None:
            share = region.area / (x.shape[2] * x.shape[3])
            class_target = class_target.lerp(class_target.flip(0), share)
            token_logits = swap_region(token_logits, region)
        return {
            'loss_cls': soft_cross_entropy(self.class_logits(x), class_target),
            'loss_token': self.dense_weight * soft_cross_entropy(token_logits, token_target),
        }

    def predict(self, feats: Sequence[Tensor], data_samples: Sequence[Any] | None = None) -> list[Any]:
        """Return the data samples, or new ones if none are given, with ``pred_score`` and ``pred_label``."""
        scores = self(feats).softmax(1)
        if data_samples is None:
            from mmpretrain.structures import DataSample  # here, since it imports mmdet if that is installed

            data_samples = [DataSample() for _ in scores]
        labels = scores.argmax(1, keepdim=True).detach()
        return [
            sample.set_pred_score(score).set_pred_label(label)
            for sample, score, label in zip(data_samples, scores, labels, strict=True)
        ]

    def _targets(self, data_samples: Sequence[Any], x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets of the image, (B, num_classes), and of the positions, (B, num_classes, H, W)."""
        if not all('label_map' in sample for sample in data_samples):
            raise bad_value('data_samples', 'no label_map', 'samples that mmhybrid.LoadLabelMap has read')
        label_maps = torch.stack([sample.label_map for sample in data_samples]).to(x.device)
        largest = int(label_maps[:, 1].max())
        if largest >= self.num_classes:  # checked, since an index error on a GPU would end the process
            raise bad_value('class of a label map', largest, f'less than num_classes of the head, {self.num_classes}')
        boxes = torch.tensor([sample.label_map_box for sample in data_samples])
        smooth = self.label_smooth_val
        with torch.autocast(x.device.type, enabled=False):  # half precision would change logits by up to 0.1
            maps = dense_maps(label_maps, self.num_classes)
            whole, cells = (
                crop_targets(maps, boxes, *size) * (1 - smooth) + smooth / self.num_classes
                for size in ((1, 1), x.shape[2:])
            )
        return whole.flatten(1), cells


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits with target probabilities, both (B, classes, ...)."""
    return -(target * at_least_float32(logits).log_softmax(1)).sum(1).mean()
