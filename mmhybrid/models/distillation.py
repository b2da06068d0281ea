"""What a student classifier learns from a teacher (AutoViT section 5.1; DeiT)."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import bad_value, check_choice, check_float, check_keys

KINDS = ('soft', 'hard')


@dataclass(frozen=True)
class Logits:
    """The logits that a head has computed, oldest first."""

    of_forwards: list[Tensor] = field(default_factory=list)


@contextmanager
def captured_logits(head: nn.Module) -> Iterator[Logits]:
    """Keep the logits that a classification head computes on the way to its loss."""
    logits = Logits()
    handle = head.register_forward_hook(lambda module, args, output: logits.of_forwards.append(output))
    try:
        yield logits
    finally:
        handle.remove()


class Distillation:
    """How logits are compared.

    Args:
        kind: ``soft``, t^2 KL(teacher / t || student / t), or ``hard``, the cross-entropy with the teacher's choice.
        alpha: Weight of it; the loss of the labels has 1 - alpha.
        temperature: t, for ``soft``.
    """

    def __init__(self, kind: str = 'soft', alpha: float = 0.5, temperature: float = 1.0) -> None:
        self.kind = check_choice('distillation.kind', kind, KINDS)
        self.alpha = check_float('distillation.alpha', alpha, 0, 1)
        self.temperature = check_float('distillation.temperature', temperature, 0, above=True)

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Logits (B, classes) of both -> alpha times the mean over the batch."""
        if self.kind == 'hard':
            return self.alpha * F.cross_entropy(student, teacher.argmax(-1))
        t = self.temperature
        divergence = F.kl_div(
            F.log_softmax(student / t, -1), F.log_softmax(teacher / t, -1), reduction='batchmean', log_target=True
        )
        return self.alpha * t**2 * divergence


class Teacher:
    """A trained classifier, in eval mode, without gradients, and outside of any checkpoint.

    Args:
        config: An mmpretrain config, or its path. Give either this or ``timm``.
        timm: Name of a timm model, where timm is installed; with the tag of the weights (``regnety_320.tv2_in1k``)
            their mean and standard deviation are used, without one those of timm's default weights.
        checkpoint: Path of the weights.

    Raises:
        ValueError: If a file is missing, the weights are not those of the model, or neither or both of ``config`` and
            ``timm`` are given.
    """

    def __init__(self, checkpoint: str, config: str | Config | None = None, timm: str | None = None) -> None:
        if (config is None) == (timm is None):
            raise bad_value('teacher', {'config': config, 'timm': timm}, 'either config or timm')
        if not Path(checkpoint).is_file():
            raise bad_value('teacher.checkpoint', checkpoint, 'the path of an existing file')
        model: Any = _mmpretrain_model(config) if config is not None else _timm_model(str(timm))
        self.model = model
        try:
            load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
        except RuntimeError as error:
            reason = ' '.join(str(error).split())
            raise ValueError(f'teacher.checkpoint: {checkpoint} does not fit the model: {reason}') from error
        model.eval().requires_grad_(False)
        if config is not None:
            self._mean, self._std = normalisation(model.data_preprocessor)
        else:
            self._mean, self._std = (
                255 * torch.tensor(model.default_cfg[name]).view(-1, 1, 1) for name in ('mean', 'std')
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> 'Teacher':
        return self  # it never changes, and a moving average of the student needs none of its own

    @property
    def num_classes(self) -> int:
        """Classes that it knows."""
        classifier: Any = self.model
        return int((classifier.head if hasattr(classifier, 'data_preprocessor') else classifier).num_classes)

    @torch.no_grad()
    def logits(self, inputs: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """(B, classes) for images that the student has normalised with ``mean`` and ``std``."""
        self.model.to(inputs.device)
        pixels = inputs * std + mean
        images = (pixels - self._mean.to(inputs)) / self._std.to(inputs)
        return self.model(images)


def normalisation(preprocessor: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (channels, 1, 1) each, of an MMPretrain preprocessor; 0 and 1 where it has none."""
    mean, std = getattr(preprocessor, 'mean', torch.zeros(1, 1, 1)), getattr(preprocessor, 'std', torch.ones(1, 1, 1))
    return mean, std


def build_teacher(cfg: Mapping[str, Any]) -> Teacher:
    """A teacher from its config, see :class:`Teacher`."""
    check_keys('teacher', cfg, ('checkpoint',), ('config', 'timm'))
    return Teacher(**cfg)


def _mmpretrain_model(config: str | Config) -> nn.Module:
    if isinstance(config, str):
        if not Path(config).is_file():
            raise bad_value('teacher.config', config, 'the path of an existing file')
        config = Config.fromfile(config)
    cfg = copy.deepcopy(config)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model.pop('train_cfg', None)
    return MODELS.build({**cfg.model, '_scope_': 'mmpretrain'})


def _timm_model(name: str) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f'teacher.timm: {name!r} needs timm, which is not installed') from error
    if name not in {*timm.list_models(), *timm.list_pretrained()}:
        raise bad_value('teacher.timm', name, 'a name of timm.list_models() or timm.list_pretrained()')
    return timm.create_model(name, pretrained=False)
