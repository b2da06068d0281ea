"""What a student learns from a teacher: logits (AutoViT section 5.1; DeiT), and the maps that a head reads."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.models.build import build_model
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.models.layers.basic import at_least_float32
from mmhybrid.models.resized_inputs import resized
from mmhybrid.utils.checks import bad_value, check_choice, check_float, check_int, check_keys

KINDS = ('soft', 'hard')
FEATURES = ('backbone', 'neck')
SMALLEST_SQUARES = 1e-12  # of a teacher's map, so that one of zeros divides nothing by 0


@contextmanager
def captured(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """Keep what modules compute last, by the names given to them.

    Their ``forward`` is another one meanwhile: MMSegmentation's heads call it past all hooks.
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
    """The head of a model that computes logits of classes, for images or for places in maps.

    Args:
        head: The head.
        losses: How the names of the losses begin that labels give for the same logits.
        of_boxes: Its logits are the first of what it returns, a map for each level.
        sigmoid: Each logit is a probability of its own.
    """

    head: nn.Module
    losses: str
    of_boxes: bool = False
    sigmoid: bool = False

    @classmethod
    def of(cls, model: nn.Module) -> 'LogitsHead | None':
        """That of a classifier, a segmentor or a detector of one stage; None for other models."""
        parts: dict[str, Any] = {name: getattr(model, name, None) for name in ('head', 'decode_head', 'bbox_head')}
        if hasattr(parts['head'], 'num_classes'):
            return cls(parts['head'], '')
        if hasattr(parts['decode_head'], 'conv_seg'):  # a list of heads has none
            return cls(parts['decode_head'], 'decode.', sigmoid=parts['decode_head'].out_channels == 1)
        if getattr(parts['bbox_head'], 'use_sigmoid_cls', False):
            return cls(parts['bbox_head'], 'loss_cls', of_boxes=True, sigmoid=True)
        return None

    def shares(self, loss: str) -> bool:
        """Whether a loss, by its name, is that of the labels for the same logits."""
        return loss.startswith(self.losses) and 'loss' in loss

    def read(self, output: Any) -> list[Tensor]:
        """The logits (B, classes, ...) in what a forward of the head has returned."""
        return maps_of(output[0] if self.of_boxes else output)


@dataclass(frozen=True)
class Outputs:
    """What a model has computed on the way to its losses.

    Args:
        logits: Of its head, see :class:`LogitsHead`; empty for none.
        features: The maps of its modules, by their names.
    """

    logits: list[Tensor]
    features: dict[str, list[Tensor]] = field(default_factory=dict)

    def detach(self) -> 'Outputs':
        """The same without gradients."""
        features = {name: [one.detach() for one in maps] for name, maps in self.features.items()}
        return Outputs([one.detach() for one in self.logits], features)


class Distillation:
    """How a student is compared with its teacher.

    Args:
        kind: ``soft``, t^2 KL(teacher / t || student / t) as in DeiT, or ``hard``, the cross-entropy with the teacher's
            choice. In maps it is the mean over their places. For heads of sigmoids it is the sum over all logits,
            divided by the sum of the teacher's probabilities, as their loss of the labels is by the sum of its targets.
        alpha: Weight of it; the loss of the labels for the same logits has 1 - alpha.
        temperature: t, for ``soft``.
        features: Weights by module, ``neck`` or ``backbone``, of the squared distance of its maps from the teacher's,
            divided by the squares of the teacher's; the mean over the maps. They come on top of all other losses.
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
        """Raise ValueError if a model has no module of ``features``, or no logits that could be compared."""
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
        """What is added to the losses of the labels."""
        losses: dict[str, Tensor] = {}
        if student.logits and sigmoid:
            losses['loss_distillation'] = self.sigmoid_loss(student.logits, teacher.logits)
        elif student.logits:
            losses['loss_distillation'] = self.loss(student.logits[0], teacher.logits[0])
        for name, maps in student.features.items():
            distances = [_relative_distance(*pair) for pair in zip(maps, teacher.features[name], strict=True)]
            losses[f'loss_{name}_features'] = self.features[name] * torch.stack(distances).mean()
        return losses

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Logits (B, classes, ...) of both -> alpha times the mean over the batch and the places."""
        student, teacher = (logits.movedim(1, -1).flatten(0, -2) for logits in (student, teacher))
        if self.kind == 'hard':
            return self.alpha * F.cross_entropy(student, teacher.argmax(-1))
        t = self.temperature
        divergence = F.kl_div(
            F.log_softmax(student / t, -1), F.log_softmax(teacher / t, -1), reduction='batchmean', log_target=True
        )
        return self.alpha * t**2 * divergence

    def sigmoid_loss(self, students: Sequence[Tensor], teachers: Sequence[Tensor]) -> Tensor:
        """Logits of both, of any shapes -> alpha times the sum of all divergences over that of the probabilities."""
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
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    return (student - teacher).square().sum() / teacher.square().sum().clamp(min=SMALLEST_SQUARES)


def maps_of(output: Any) -> list[Tensor]:
    """The tensors that a module has returned, one or a sequence."""
    return [output] if isinstance(output, Tensor) else list(output)


@dataclass(frozen=True)
class Normalisation:
    """How a preprocessor makes inputs of pixels, whose channels are in the order BGR.

    Args:
        mean: Subtracted, (channels, 1, 1).
        std: Divisor, in the same shape.
        to_rgb: Whether the order of the channels is turned round first.
    """

    mean: Tensor
    std: Tensor
    to_rgb: bool

    @classmethod
    def of(cls, preprocessor: nn.Module) -> 'Normalisation':
        """What an MMPretrain or MMEngine preprocessor does.

        Raises:
            ValueError: If it is one of another kind, whose normalisation is unknown.
        """
        to_rgb = getattr(preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', None))
        if to_rgb is None:
            allowed = "one of MMPretrain's or MMEngine's for images, with a teacher"
            raise bad_value('data_preprocessor', type(preprocessor).__name__, allowed)
        mean = getattr(preprocessor, 'mean', torch.zeros(1, 1, 1))
        std = getattr(preprocessor, 'std', torch.ones(1, 1, 1))
        return cls(mean, std, to_rgb)

    def undo(self, inputs: Tensor) -> Tensor:
        """Inputs (B, C, H, W) back to pixels."""
        pixels = inputs * self.std.to(inputs) + self.mean.to(inputs)
        return pixels.flip(1) if self.to_rgb else pixels


class Teacher:
    """A trained classifier, in eval mode, without gradients, and outside of any checkpoint.

    Args:
        config: An mmpretrain config, or its path. Give either this or ``timm``.
        timm: Name of a timm model, where timm is installed; with the tag of the weights (``regnety_320.tv2_in1k``)
            their mean, standard deviation and size of images are used, without one those of timm's default weights.
        checkpoint: Path of the weights.
        size: Pixels a side of the images that it sees; they are resized from the student's. By default the size of its
            own weights: timm's ``input_size``, or what the test pipeline of the config crops to; without either, the
            student's.

    Raises:
        ValueError: If a file is missing, the weights cannot be read or are not those of the model, or neither or both
            of ``config`` and ``timm`` are given.
    """

    def __init__(
        self, checkpoint: str, config: str | Config | None = None, timm: str | None = None, size: int | None = None
    ) -> None:
        if (config is None) == (timm is None):
            raise bad_value('teacher', {'config': config, 'timm': timm}, 'either config or timm')
        if not Path(checkpoint).is_file():
            raise bad_value('teacher.checkpoint', checkpoint, 'the path of an existing file')
        if isinstance(config, str):
            if not Path(config).is_file():
                raise bad_value('teacher.config', config, 'the path of an existing file')
            config = Config.fromfile(config)
        model: Any = _mmpretrain_model(config) if config is not None else _timm_model(str(timm))
        self.model = model
        own = _cropped_size(config) if config is not None else model.default_cfg.get('input_size', [None])[-1]
        self.size = own if size is None else check_int('teacher.size', size, 1)
        try:
            model.load_state_dict(_read_weights(checkpoint), strict=True)
        except RuntimeError as error:
            reason = ' '.join(str(error).split())
            raise ValueError(f'teacher.checkpoint: {checkpoint} does not fit the model: {reason}') from error
        model.eval().requires_grad_(False)
        if config is not None:
            self._preprocessor = model.data_preprocessor
        else:
            mean, std = ([255 * value for value in model.default_cfg[name]] for name in ('mean', 'std'))
            self._preprocessor = ImgDataPreprocessor(mean, std, bgr_to_rgb=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> 'Teacher':
        return self  # it never changes, and a moving average of the student needs none of its own

    @property
    def num_classes(self) -> int:
        """Classes that it knows."""
        classifier: Any = self.model
        return int((classifier.head if hasattr(classifier, 'data_preprocessor') else classifier).num_classes)

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """(B, classes) for pixels in the order BGR, as images are read; the teacher's own preprocessor takes them."""
        self.model.to(pixels.device)
        self._preprocessor.to(pixels.device)
        pixels = pixels if self.size is None else resized(pixels, self.size)
        return self.model(self._preprocessor({'inputs': pixels})['inputs'])


def build_teacher(cfg: Mapping[str, Any]) -> Teacher:
    """A teacher from its config, see :class:`Teacher`."""
    check_keys('teacher', cfg, ('checkpoint',), ('config', 'timm', 'size'))
    return Teacher(**cfg)


def _mmpretrain_model(config: Config) -> nn.Module:
    cfg = copy.deepcopy(config)
    cfg.default_scope = 'mmpretrain'
    cfg.model.pop('train_cfg', None)
    model: nn.Module = build_model(cfg)
    return model


def _cropped_size(config: Config) -> int | None:
    """Side of the square images that the test pipeline of a config ends in, None where it does not say it."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    for transform in reversed(dataset.get('pipeline') or config.get('test_pipeline') or []):
        size = transform.get('crop_size', transform.get('scale'))
        if size is not None:
            sides = {size} if isinstance(size, int) else set(size)
            return int(sides.pop()) if len(sides) == 1 else None
    return None


def _timm_model(name: str) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f'teacher.timm: {name!r} needs timm, which is not installed') from error
    if name not in {*timm.list_models(), *timm.list_pretrained()}:
        raise bad_value('teacher.timm', name, 'a name of timm.list_models() or timm.list_pretrained()')
    return timm.create_model(name, pretrained=False)


def _read_weights(path: str) -> dict[str, Tensor]:
    try:
        content = read_checkpoint(path)
    except ValueError as error:
        raise ValueError(f'teacher.checkpoint: {error}') from error
    weights = content.get('state_dict', content)
    if not isinstance(weights, Mapping) or not all(isinstance(weight, Tensor) for weight in weights.values()):
        raise ValueError(f'teacher.checkpoint: {path} holds no dict of weights')
    return {name.removeprefix('module.'): weight for name, weight in weights.items()}
