"""Feature distillation: a backbone, or all networks of a supernet, learns a teacher's features without labels."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.models.backbones.base import output_widths
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.layers.basic import at_least_float32
from mmhybrid.models.mutators import Mutator
from mmhybrid.models.resized_inputs import resized
from mmhybrid.models.supernets import Supernet
from mmhybrid.models.teachers import FEATURES, Lesson, Normalisation
from mmhybrid.registry import MODELS, MUTATORS
from mmhybrid.utils.checks import bad_value, check_choice

LOSSES = ('cosine', 'smooth_l1')
# Difference below which the smooth L1 loss is quadratic ("Contrastive Learning Rivals Masked Image Modeling in
# Fine-tuning via Feature Distillation", Wei et al., 2022, section 3).
SMOOTH_BELOW = 2.0


@MODELS.register_module()
class FeatureDistiller(BaseModel):
    """Model that trains a backbone so that a linear layer on its last output predicts a teacher's features.

    The weights of the backbone are saved with the prefix ``backbone.``, like those of a classifier. The linear layer,
    ``projection``, has no use after the training.

    Args:
        backbone: Config of a backbone or of a :class:`Supernet`.
        teacher: Config of the teacher, see :class:`Lesson`. Images are resized to its size and normalised as it needs.
        features: Kind of features: ``pooled``, one vector for each image, or ``maps``, one vector for each position of
            the student's last map, to whose size the teacher's map is resized.
        loss: Kind of loss, averaged over all vectors: ``cosine``, 1 minus the cosine similarity, or ``smooth_l1``, the
            smooth L1 distance from the teacher's vectors, which are normalised to mean 0 and variance 1.
        mutator: Config of the mutator, for a supernet only; the losses of a step's architectures are averaged.
        data_preprocessor: Config of the data preprocessor, whose type is MMPretrain's ``ClsDataPreprocessor`` by
            default.
        init_cfg: Initialisation config of MMEngine.

    Raises:
        ValueError: If an argument is wrong, the teacher or the student has no such features, a supernet has no mutator
            or another backbone has one, or pixels cannot be recovered from the inputs.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        teacher: Mapping[str, Any],
        features: str = 'pooled',
        loss: str = 'cosine',
        mutator: Mapping[str, Any] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__({'type': 'mmpretrain.ClsDataPreprocessor', **(data_preprocessor or {})}, init_cfg)
        self.features = check_choice('features', features, FEATURES)
        self.loss = check_choice('loss', loss, LOSSES)
        self.backbone: Any = MODELS.build(dict(backbone))
        self.mutator: Mutator | None = None if mutator is None else MUTATORS.build(dict(mutator))
        if isinstance(self.backbone, Supernet):
            if mutator is None:
                raise bad_value('mutator', mutator, "a dict, such as dict(type='mmhybrid.SandwichMutator')")
            widths: tuple[int, ...] = self.backbone.out_channels
        else:
            if mutator is not None:
                raise bad_value('mutator', mutator, f'None, for a {type(self.backbone).__name__}')
            widths = output_widths(build_on_meta(backbone), backbone.get('in_channels', 3))
        # the tuple keeps torch from registering the teacher's weights as part of this model
        self._lesson = (Lesson(teacher, features, self.data_preprocessor),)
        self.projection = nn.Linear(widths[-1], self.lesson.width)

    @property
    def lesson(self) -> Lesson:
        """The teacher and what the student learns from it."""
        return self._lesson[0]

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """Return the loss of a step in mode ``loss``, and the outputs of the backbone in other modes."""
        if mode == 'loss':
            return {'loss_features': self._loss(inputs, data_samples)}
        return self.backbone(inputs)

    def _loss(self, inputs: Tensor, data_samples: Any) -> Tensor:
        pixels = Normalisation.of(self.data_preprocessor).undo(inputs)
        wanted = self.lesson.of(pixels, data_samples)
        if self.mutator is None:
            return self._distance(inputs, wanted)
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        losses = []
        for arch in self.mutator.archs(self.backbone.space, iteration):
            self.backbone.set_arch(arch)
            resolution = self.backbone.space.resolution(arch)
            images = inputs if resolution is None else resized(inputs, resolution)
            losses.append(self._distance(images, wanted))
        return torch.stack(losses).mean()

    def _distance(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of the active network for features (B, C) or (B, C, H, W) of the teacher."""
        out: Tensor = self.backbone(images)[-1]
        if self.features == 'maps':
            if out.dim() != 4:
                raise bad_value('features', 'maps', f"'pooled', for a backbone that returns {tuple(out.shape)}")
            size = out.shape[2:]
            wanted = F.interpolate(wanted, size, mode='bilinear', align_corners=False, antialias=True).movedim(1, -1)
            out = out.movedim(1, -1)
        elif out.dim() > 2:
            out = out.mean((2, 3) if out.dim() == 4 else 1)
        vectors = at_least_float32(self.projection(out))
        if self.loss == 'cosine':
            return 1 - F.cosine_similarity(vectors, wanted, dim=-1).mean()
        return F.smooth_l1_loss(vectors, F.layer_norm(wanted, wanted.shape[-1:]), beta=SMOOTH_BELOW)
