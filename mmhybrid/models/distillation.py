"""Distillation losses between a student's and a teacher's logits (AutoViT, section 5.1; DeiT) and feature maps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.models.layers.basic import at_least_float32
from mmhybrid.utils.checks import bad_value, check_choice, check_float, check_keys

KINDS = ('soft', 'hard')
FEATURES = ('backbone', 'neck')
SMALLEST_SQUARES = 1e-12  # lower bound of the sum of squares of a teacher's map, to avoid a division by 0


@contextmanager
def captured(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """Return a context with a dict of the latest output of each module, under the module's name in ``modules``.

    The context replaces ``forward`` of the modules, since MMSegmentation's heads call it without running hooks.
    """
    outputs: dict[str, Any] = {}

    def keeping(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def kept(*args: Any, **kwargs: Any) -> Any:
            outputs[name] = forward(*args, **kwargs)
            return outputs[name]

        return kept

    before = {name: vars(module).get('forward') for name, module in modules.items()}
    for name, module in modules.items():
        module.forward = keeping(name, module.forward)
    try:
        yield outputs
    finally:
        for name, module in modules.items():
            vars(module).pop('forward', None)
            if before[name] is not None:
                vars(module)['forward'] = before[name]


@dataclass(frozen=True)
class LogitsHead:
    """The head of a model that computes class logits, for images or for positions in maps.

    Args:
        head: Head of the model.
        losses: Prefix of the names of the losses that compare these logits with labels.
        of_boxes: Whether the logits are the first item of its output, as a map for each level.
        sigmoid: Whether each logit stands for a probability of its own.
    """

    head: nn.Module
    losses: str
    of_boxes: bool = False
    sigmoid: bool = False

    @classmethod
    def of(cls, model: nn.Module) -> 'LogitsHead | None':
        """Return the head of a classifier, a segmentor or a one-stage detector with sigmoids; None for other models."""
        parts: dict[str, Any] = {name: getattr(model, name, None) for name in ('head', 'decode_head', 'bbox_head')}
        if hasattr(parts['head'], 'num_classes'):
            return cls(parts['head'], '')
        if hasattr(parts['decode_head'], 'conv_seg'):  # a list of heads has none
            return cls(parts['decode_head'], 'decode.', sigmoid=parts['decode_head'].out_channels == 1)
        if getattr(parts['bbox_head'], 'use_sigmoid_cls', False):
            return cls(parts['bbox_head'], 'loss_cls', of_boxes=True, sigmoid=True)
        return None

    def shares(self, loss: str) -> bool:
        """Return whether the loss of this name compares the same logits with labels."""
        return loss.startswith(self.losses) and 'loss' in loss

    def read(self, output: Any) -> list[Tensor]:
        """Return the logits (B, classes, ...) in an output of the head's ``forward``."""
        return maps_of(output[0] if self.of_boxes else output)


@dataclass(frozen=True)
class Outputs:
    """The outputs of a model's modules that distillation compares.

    Args:
        logits: Logits of its head, see :class:`LogitsHead`; empty if they are not compared.
        features: Maps of modules, by the modules' names.
    """

    logits: list[Tensor]
    features: dict[str, list[Tensor]] = field(default_factory=dict)

    def detach(self) -> 'Outputs':
        """Return the same outputs without gradients."""
        features = {name: [one.detach() for one in maps] for name, maps in self.features.items()}
        return Outputs([one.detach() for one in self.logits], features)


class Distillation:
    """The losses that compare a student with its teacher.

    Args:
        kind: Kind of loss between logits: ``soft``, t^2 KL(teacher / t || student / t) as in DeiT, or ``hard``, the
            cross-entropy with the teacher's most probable class. For maps of logits, it is the mean over the positions.
            For sigmoid heads, it is the sum over all logits, divided by the sum of the teacher's probabilities, just as
            such heads divide their loss for labels by the sum of the targets.
        alpha: Weight of this loss; the loss of the same logits for the labels has weight 1 - alpha.
        temperature: Temperature t of ``soft``.
        features: Weights by module, ``neck`` or ``backbone``, of a loss that is added for its maps: the ratio of the
            squared distance between the student's and the teacher's map to the squared norm of the teacher's, averaged
            over the maps. If a teacher has more channels, its first ones are compared; in a supernet, they are those of
            the student. None for no such losses.
    """

    def __init__(
        self,
        kind: str = 'soft',
        alpha: float = 0.5,
        temperature: float = 1.0,
        features: Mapping[str, float] | None = None,
    ) -> None:
        self.kind = check_choice('distillation.kind', kind, KINDS)
        self.alpha = check_float('distillation.alpha', alpha, 0, 1)
        self.temperature = check_float('distillation.temperature', temperature, 0, above=True)
        check_keys('distillation.features', {} if features is None else features, (), FEATURES)
        self.features = {
            name: check_float(f'distillation.features.{name}', weight, 0) for name, weight in (features or {}).items()
        }

    def check_model(self, model: nn.Module) -> None:
        """Raise a ValueError if a model lacks a module of ``features``, or has no logits to compare."""
        name = type(model).__name__
        for module in self.features:
            if getattr(model, module, None) is None:
                raise bad_value('distillation.features', module, f'a module that the {name} has')
        head = LogitsHead.of(model)
        if self.alpha and head is None:
            raise bad_value(
                'distillation.alpha', self.alpha, f'0 for a {name}, which has no head of logits, and features'
            )
        if self.alpha and self.kind == 'hard' and head is not None and head.sigmoid:
            raise bad_value('distillation.kind', self.kind, f"'soft' for the sigmoids of a {type(head.head).__name__}")
        if not self.alpha and not any(self.features.values()):
            raise bad_value('distillation.alpha', self.alpha, 'a number above 0, or features')

    def losses(self, student: Outputs, teacher: Outputs, sigmoid: bool) -> dict[str, Tensor]:
        """Return the losses that are added to those for the labels."""
        losses: dict[str, Tensor] = {}
        if student.logits and sigmoid:
            losses['loss_distillation'] = self.sigmoid_loss(student.logits, teacher.logits)
        elif student.logits:
            losses['loss_distillation'] = self.loss(student.logits[0], teacher.logits[0])
        for name, maps in student.features.items():
            distances = [_relative_distance(*pair) for pair in zip(maps, teacher.features[name], strict=True)]
            losses[f'loss_{name}_features'] = self.features[name] * torch.stack(distances).mean()
        return losses

    def joined(
        self, losses: Mapping[str, Any], student: Outputs, teacher: Outputs, head: LogitsHead | None
    ) -> dict[str, Any]:
        """Return the losses for the labels and those for the teacher, each with its weight.

        Args:
            losses: Losses for the labels as the model returns them: tensors or lists of tensors by name.
            student: Outputs of the student.
            teacher: Outputs of the teacher.
            head: Head whose logits are compared; None if logits are not compared.
        """
        if head is not None:
            losses = {
                name: _scaled(loss, 1 - self.alpha) if head.shares(name) else loss for name, loss in losses.items()
            }
        return {**losses, **self.losses(student, teacher, head is not None and head.sigmoid)}

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return alpha times the mean loss over the batch and the positions, for logits (B, classes, ...) of both."""
        student, teacher = (logits.movedim(1, -1).flatten(0, -2) for logits in (student, teacher))
        if self.kind == 'hard':
            return self.alpha * F.cross_entropy(student, teacher.argmax(-1))
        t = self.temperature
        divergence = F.kl_div(
            F.log_softmax(student / t, -1), F.log_softmax(teacher / t, -1), reduction='batchmean', log_target=True
        )
        return self.alpha * t**2 * divergence

    def sigmoid_loss(self, students: Sequence[Tensor], teachers: Sequence[Tensor]) -> Tensor:
        """Return alpha times the ratio of the summed divergences to the teacher's summed probabilities.

        The logits may have any shapes, which are the same for student and teacher.
        """
        t = self.temperature
        student, teacher = (
            torch.cat([at_least_float32(one).flatten() for one in logits]) / t for logits in (students, teachers)
        )
        probs = teacher.sigmoid()
        cross_entropy, entropy = (
            F.binary_cross_entropy_with_logits(one, probs, reduction='sum') for one in (student, teacher)
        )
        return self.alpha * t**2 * (cross_entropy - entropy) / probs.sum()


def _relative_distance(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = at_least_float32(student), at_least_float32(teacher[:, : student.shape[1]])
    return (student - teacher).square().sum() / teacher.square().sum().clamp(min=SMALLEST_SQUARES)


def _scaled(loss: Any, factor: float) -> Any:
    return [part * factor for part in loss] if isinstance(loss, list) else loss * factor


def maps_of(output: Any) -> list[Tensor]:
    """Return the tensors in a module's output, which is a tensor or a sequence of tensors."""
    return [output] if isinstance(output, Tensor) else list(output)
