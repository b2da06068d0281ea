"""One-shot training: a classifier, detector or segmentor whose backbone is a supernet, trained subnet by subnet."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from torch import Tensor

from mmhybrid.models.distillation import Distillation, Normalisation, build_teacher, captured_logits
from mmhybrid.models.fitting import check_widths
from mmhybrid.models.mutators import Mutator
from mmhybrid.models.resized_inputs import resized
from mmhybrid.models.supernets import Supernet
from mmhybrid.registry import MODELS, MUTATORS
from mmhybrid.space import SearchSpace
from mmhybrid.utils.checks import bad_value

Losses = dict[str, Tensor]


@MODELS.register_module()
class OneShot(BaseModel):
    """Train the subnets that a mutator picks, with the loss of the wrapped model.

    Images of a classifier are resized to the ``resolution`` of an architecture, where the space has one.

    Args:
        architecture: Config of any mmpretrain, mmdet or mmseg model whose backbone is a :class:`Supernet`.
        mutator: Config of what picks the architectures of a step.
        distillation: With a ``teacher``, or with a mutator of several architectures (the first of them teaches the
            others in place): arguments of :class:`Distillation`. Classifiers only.
        teacher: Arguments of :class:`Teacher`.
        data_preprocessor: Of the wrapped model, where the host's config has it on the top level.
        init_cfg: As in MMEngine.

    Raises:
        ValueError: If the backbone is no supernet, a neck or head reads other channels than the widest subnet has,
            teacher and student disagree on the classes, nothing teaches, or a teacher cannot get its pixels back from
            the inputs.
    """

    def __init__(
        self,
        architecture: Mapping[str, Any],
        mutator: Mapping[str, Any],
        distillation: Mapping[str, Any] | None = None,
        teacher: Mapping[str, Any] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        model_cfg = dict(architecture)
        if data_preprocessor is not None:
            model_cfg.setdefault('data_preprocessor', dict(data_preprocessor))
        model = MODELS.build(model_cfg)
        if not isinstance(model.backbone, Supernet):
            raise bad_value('architecture.backbone.type', type(model.backbone).__name__, 'mmhybrid.Supernet')
        check_widths(model_cfg, model.backbone.out_channels)
        super().__init__(model.data_preprocessor, init_cfg)
        self.architecture = model
        self.mutator: Mutator = MUTATORS.build(dict(mutator))
        self.is_classifier = hasattr(model, 'head') and hasattr(model.head, 'num_classes')
        self.resizes = self.is_classifier and 'resolution' in self.space.choices
        self.distillation = None if distillation is None else Distillation(**distillation)
        # in a tuple, so that its weights are no part of this model
        self._teacher = () if teacher is None else (build_teacher(teacher),)
        self._check()

    def _check(self) -> None:
        resolution = self.space.choices.get('resolution')
        if not self.is_classifier and resolution is not None and len(resolution.values) > 1:
            raise bad_value('space.resolution', resolution.values, 'one value, for this model')
        if not self.is_classifier and self.distillation is not None:
            raise bad_value('distillation', type(self.architecture).__name__, 'None, or a classifier')
        if self._teacher and self.distillation is None:
            raise bad_value('distillation', None, "a dict, such as dict(kind='hard', alpha=0.5), with a teacher")
        if self.distillation is not None and not self._teacher and len(self.mutator.archs(self.space, 0)) < 2:
            raise bad_value('teacher', None, 'a dict, with a mutator of one architecture and distillation')
        if self._teacher:
            Normalisation.of(self.data_preprocessor)  # raises what would else be raised in the first step
        if self._teacher and self._teacher[0].num_classes != self.architecture.head.num_classes:
            allowed = f'the {self.architecture.head.num_classes} of the student'
            raise bad_value('number of classes of the teacher', self._teacher[0].num_classes, allowed)

    @property
    def supernet(self) -> Supernet:
        """The backbone."""
        return self.architecture.backbone

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.supernet.space

    def set_arch(self, arch: Mapping[str, Any]) -> None:
        """Make a subnet the active one, see :meth:`Supernet.set_arch`."""
        self.supernet.set_arch(arch)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """Run the wrapped model; mode ``loss`` trains the mutator's architectures, the others use the active one."""
        if mode == 'loss':
            return self._loss(inputs, data_samples)
        return self.architecture(self._resized(inputs), data_samples, mode)

    def _loss(self, inputs: Tensor, data_samples: Any) -> Losses:
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        archs = self.mutator.archs(self.space, iteration)
        teacher_logits = self._teacher_logits(inputs)
        total: Losses = {}
        for arch in archs:
            self.set_arch(arch)
            losses, logits = self._subnet_loss(inputs, data_samples, teacher_logits)
            if teacher_logits is None and logits is not None:
                teacher_logits = logits.detach()
            for name, loss in losses.items():
                # as MMEngine adds a list up; what a detector returns may differ in shape between subnets
                parts = loss if isinstance(loss, list) else [loss]
                total[name] = total.get(name, 0) + torch.stack([part.mean() for part in parts]).sum() / len(archs)
        return total

    def _subnet_loss(
        self, inputs: Tensor, data_samples: Any, teacher_logits: Tensor | None
    ) -> tuple[Losses, Tensor | None]:
        """The losses of the active subnet, and the logits of a classifier."""
        images = self._resized(inputs)
        if not self.is_classifier or self.distillation is None:
            return self.architecture(images, data_samples, mode='loss'), None
        with captured_logits(self.architecture.head) as captured:
            losses = self.architecture(images, data_samples, mode='loss')
        logits = captured.of_forwards[-1]
        if teacher_logits is not None:
            losses = {
                name: loss * (1 - self.distillation.alpha) if 'loss' in name else loss for name, loss in losses.items()
            }
            losses['loss_distillation'] = self.distillation.loss(logits, teacher_logits)
        return losses, logits

    def _teacher_logits(self, inputs: Tensor) -> Tensor | None:
        if not self._teacher:
            return None
        return self._teacher[0].logits(Normalisation.of(self.data_preprocessor).undo(inputs))

    def _resized(self, images: Tensor) -> Tensor:
        """Images at the resolution of the active architecture."""
        if not self.resizes:
            return images
        return resized(images, int(self.supernet.arch['resolution']))
