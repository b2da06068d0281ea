"""One-shot training of a classifier, detector or segmentor whose backbone is a supernet."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from torch import Tensor

from mmhybrid.models.distillation import (
    Distillation,
    LogitsHead,
    Outputs,
    captured,
    maps_of,
)
from mmhybrid.models.mutators import Mutator
from mmhybrid.models.resized_inputs import resized_batch
from mmhybrid.models.supernets import Supernet
from mmhybrid.models.supernets.whole_models import WholeModels
from mmhybrid.models.teachers import Lesson, Normalisation
from mmhybrid.registry import MODELS, MUTATORS
from mmhybrid.space import Arch, SearchSpace, Value
from mmhybrid.space.whole_model import with_genes
from mmhybrid.utils.checks import bad_value, check_class

Losses = dict[str, Tensor]
HEAD = 'head of logits'


@MODELS.register_module()
class OneShot(BaseModel):
    """Model that trains the subnets that a mutator chooses, with the loss of the wrapped model.

    If the space has a gene ``resolution``, the images of a classifier are resized to its value. Images of other models
    are resized if the gene has several values, and then have to be square. With ``genes`` of necks and heads, an
    architecture is that of a whole model (see :class:`WholeModelSpace`).

    Args:
        architecture: Config of an MMPretrain, MMDetection or MMSegmentation model whose backbone is a
            :class:`Supernet`. The ``in_channels`` of its neck or heads are replaced by the widths of the widest subnet.
        mutator: Config of the mutator, which chooses the architectures of a step.
        distillation: Arguments of :class:`Distillation`. They need a ``teacher``, or a mutator of several
            architectures, the first of which then teaches the others.
        teacher: Config of the teacher of a classifier's logits, see :class:`Lesson`; None for no teacher.
        data_preprocessor: Config of the wrapped model's data preprocessor, if the model's config has it at the top
            level.
        init_cfg: Initialisation config of MMEngine.
        genes: Values of settings of the model around the backbone, see :class:`WholeModelSpace`, such as
            ``dict(bbox_head=dict(feat_channels=[32, 64], stacked_convs=[1, 2]))``. The wrapped model has the largest
            value of each setting, and models with other values use parts of its layers.

    Attributes:
        space: Search space of the networks.

    Raises:
        ValueError: If the backbone is not a supernet, a neck or head reads more outputs than it has, teacher and
            student have different numbers of classes, there is distillation without a teacher, the model lacks what is
            to be compared, or pixels for the teacher cannot be recovered from the inputs.
    """

    def __init__(
        self,
        architecture: Mapping[str, Any],
        mutator: Mapping[str, Any],
        distillation: Mapping[str, Any] | None = None,
        teacher: Mapping[str, Any] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
        genes: Mapping[str, Any] | None = None,
    ) -> None:
        backbone = check_class('architecture.backbone', architecture.get('backbone'), Mapping)
        supernet = MODELS.build(dict(backbone))
        if not isinstance(supernet, Supernet):
            raise bad_value('architecture.backbone.type', type(supernet).__name__, 'mmhybrid.Supernet')

        self.space: SearchSpace = with_genes(supernet.space, genes)
        preprocessor = {} if data_preprocessor is None else {'data_preprocessor': dict(data_preprocessor)}
        models = WholeModels({**preprocessor, **architecture}, supernet, self.space)
        model = models.widest
        super().__init__(model.data_preprocessor, init_cfg)
        self.architecture = model
        self._models = models
        self._beyond_backbone = self._genes_beyond(self.space.largest())
        self.mutator: Mutator = MUTATORS.build(dict(mutator))
        self.is_classifier = hasattr(model, 'head') and hasattr(model.head, 'num_classes')
        self.resizes = self.space.has_resolutions or (self.is_classifier and 'resolution' in self.space.choices)
        self.distillation = None if distillation is None else Distillation(**distillation)
        # the tuple keeps torch from registering the teacher's weights as part of this model
        self._lesson = () if teacher is None else (Lesson(teacher, 'logits', self.data_preprocessor),)
        self._check()

    def _check(self) -> None:
        several_sizes = self.space.has_resolutions and not getattr(self.mutator, 'one_resolution', False)
        if several_sizes and not self.is_classifier and self.distillation is not None:
            allowed = 'one that draws one resolution for all of a step, SandwichMutator(one_resolution=True)'
            raise bad_value('mutator', type(self.mutator).__name__, allowed)
        if self.space.has_resolutions and (getattr(self.architecture, 'test_cfg', None) or {}).get('mode') == 'slide':
            raise bad_value('test_cfg.mode', 'slide', "'whole', for images of several resolutions")
        if self.distillation is not None:
            self.distillation.check_model(self.architecture)
            if self.distillation.features and (self._lesson or several_sizes):
                allowed = 'None, with a teacher of another family, or images of several resolutions'
                raise bad_value('distillation.features', self.distillation.features, allowed)
        if self._lesson and not self.is_classifier:
            raise bad_value('teacher', type(self.architecture).__name__, 'None, or a classifier')
        if self._lesson and self.distillation is None:
            raise bad_value('distillation', None, "a dict, such as dict(kind='hard', alpha=0.5), with a teacher")
        if self.distillation is not None and not self._lesson and len(self.mutator.archs(self.space, 0)) < 2:
            raise bad_value('teacher', None, 'a dict, with a mutator of one architecture and distillation')
        if self.lesson is not None and self.lesson.width != self.architecture.head.num_classes:
            allowed = f'the {self.architecture.head.num_classes} of the student'
            raise bad_value('number of classes of the teacher', self.lesson.width, allowed)

    @property
    def lesson(self) -> Lesson | None:
        """The teacher and what the student learns from it; None without a teacher."""
        return self._lesson[0] if self._lesson else None

    @property
    def supernet(self) -> Supernet:
        """The supernet, which is the backbone of the wrapped model."""
        return self.architecture.backbone

    @property
    def arch(self) -> Arch:
        """The active architecture."""
        return self.space.canonical({**self.supernet.arch, **self._beyond_backbone})

    @property
    def active(self) -> Any:
        """The wrapped model with the neck and the heads of the active architecture, on the weights as they are now."""
        return self._models.get(self.space.settings(self._beyond_backbone))

    def set_arch(self, arch: Mapping[str, Any]) -> None:
        """Make a subnet the active one.

        Raises:
            ValueError: If ``arch`` is not in the space, with the reason.
        """
        if not self.space.model_genes:
            self.supernet.set_arch(arch)
            return
        reason = self.space.why_not(arch)
        if reason is not None:
            raise ValueError(f'arch is not in the space of the models: {reason}')
        canonical = self.space.canonical(arch)
        self.supernet.set_arch(self.space.of_backbone(canonical))
        self._beyond_backbone = self._genes_beyond(canonical)

    def _genes_beyond(self, arch: Arch) -> dict[str, Value]:
        return {name: arch[name] for name in self.space.model_genes}

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """Run the wrapped model: the mutator's architectures in mode ``loss``, and the active one in other modes."""
        if mode == 'loss':
            return self._loss(inputs, data_samples)
        images, samples = self._resized(inputs, data_samples)
        return self.active(images, samples, mode)

    def _loss(self, inputs: Tensor, data_samples: Any) -> Losses:
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        archs = self.mutator.archs(self.space, iteration)
        logits = self._teacher_logits(inputs, data_samples)
        teacher = None if logits is None else Outputs([logits])
        total: Losses = {}
        for arch in archs:
            self.set_arch(arch)
            losses, outputs = self._subnet_loss(inputs, data_samples, teacher)
            if teacher is None and outputs is not None:
                teacher = outputs.detach()
            for name, loss in losses.items():
                # lists are summed as MMEngine does it, since a detector's losses may differ in shape between subnets
                parts = loss if isinstance(loss, list) else [loss]
                total[name] = total.get(name, 0) + torch.stack([part.mean() for part in parts]).sum() / len(archs)
        return total

    def _subnet_loss(
        self, inputs: Tensor, data_samples: Any, teacher: Outputs | None
    ) -> tuple[dict[str, Any], Outputs | None]:
        """Return the losses of the active subnet, and its outputs if there is distillation."""
        (images, samples), model = self._resized(inputs, data_samples), self.active
        if self.distillation is None:
            return model(images, samples, mode='loss'), None
        head = LogitsHead.of(model) if self.distillation.alpha else None
        watched = {name: getattr(model, name) for name in self.distillation.features}
        with captured({**watched, **({} if head is None else {HEAD: head.head})}) as found:
            losses = model(images, samples, mode='loss')
        logits = [] if head is None else head.read(found[HEAD])
        outputs = Outputs(logits, {name: maps_of(found[name]) for name in watched})
        if teacher is None:
            return losses, outputs
        return self.distillation.joined(losses, outputs, teacher, head), outputs

    def _teacher_logits(self, inputs: Tensor, data_samples: Any) -> Tensor | None:
        if self.lesson is None:
            return None
        return self.lesson.of(Normalisation.of(self.data_preprocessor).undo(inputs), data_samples)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> 'OneShot':
        self._models.forget()
        return super()._apply(fn, recurse)

    def _resized(self, images: Tensor, samples: Any) -> tuple[Tensor, Any]:
        """Return the images at the resolution of the active architecture, and their samples."""
        if not self.resizes:
            return images, samples
        genes = {**self.supernet.arch, **self._beyond_backbone}
        return resized_batch(images, samples, int(genes['resolution']))
