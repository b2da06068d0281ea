"""Teachers, which are trained classifiers of MMPretrain or timm, and the pixels that they see."""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from torch import Tensor, nn

from mmhybrid.models.build import build_model
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.models.kept_outputs import KeptOutputs, KeptPlan, digests_of
from mmhybrid.models.layers.basic import at_least_float32
from mmhybrid.models.resized_inputs import resized
from mmhybrid.utils.checks import bad_value, check_class, check_int, check_keys, check_list
from mmhybrid.utils.errors import first_line

# Kinds of features: one vector for each image, or one for each position of a map.
FEATURES = ('pooled', 'maps')
# Side, in pixels, of the image with which the width of features is measured if a teacher has no size of its own.
SIDE = 224


@dataclass(frozen=True)
class Normalisation:
    """The normalisation of pixels in BGR order by a data preprocessor.

    Args:
        mean: Mean that is subtracted, (channels, 1, 1).
        std: Standard deviation by which the difference is divided, in the same shape.
        to_rgb: Whether the order of the channels is reversed first.
    """

    mean: Tensor
    std: Tensor
    to_rgb: bool

    @classmethod
    def of(cls, preprocessor: nn.Module) -> 'Normalisation':
        """Return the normalisation of an MMPretrain or MMEngine preprocessor.

        Raises:
            ValueError: If the preprocessor is of another kind, whose normalisation is unknown.
        """
        to_rgb = getattr(preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', None))
        if to_rgb is None:
            allowed = "one of MMPretrain's or MMEngine's for images, with a teacher"
            raise bad_value('data_preprocessor', type(preprocessor).__name__, allowed)
        mean = getattr(preprocessor, 'mean', torch.zeros(1, 1, 1))
        std = getattr(preprocessor, 'std', torch.ones(1, 1, 1))
        return cls(mean, std, to_rgb)

    def record(self) -> dict[str, Any]:
        """Return the normalisation as plain JSON."""
        return {'mean': self.mean.flatten().tolist(), 'std': self.std.flatten().tolist(), 'to_rgb': bool(self.to_rgb)}

    def undo(self, inputs: Tensor) -> Tensor:
        """Return the pixels of normalised inputs (B, C, H, W)."""
        pixels = inputs * self.std.to(inputs) + self.mean.to(inputs)
        return pixels.flip(1) if self.to_rgb else pixels


class Teacher:
    """A trained classifier in eval mode, which gets no gradients and is saved in no checkpoint.

    Args:
        checkpoint: Path of the weights, or an address such as ``package://NAME``.
        config: MMPretrain config, its path, or the name of a shipped one, such as
            ``mmhybrid::efficientnet-lite/efficientnet-lite0_in1k.py``. Either this or ``timm`` is required.
        timm: Name of a timm model. With a tag of weights, as in ``regnety_320.tv2_in1k``, the mean, standard deviation
            and image size of these weights are used, and without a tag, those of timm's default weights.
        size: Side, in pixels, of the images that it sees, which are resized from the student's. The default is the size
            of its weights: timm's ``input_size``, or the size of the config's test pipeline. If neither is known, the
            images are not resized.
        classes: Indices of the student's classes among the teacher's, for a student that has only some of them; None if
            both have the same classes.

    Raises:
        ValueError: If a file is missing, the weights cannot be read or do not fit the model, timm is needed and not
            installed, or neither or both of ``config`` and ``timm`` are given.
    """

    def __init__(
        self,
        checkpoint: str,
        config: str | Config | None = None,
        timm: str | None = None,
        size: int | None = None,
        classes: Sequence[int] | None = None,
    ) -> None:
        if (config is None) == (timm is None):
            raise bad_value('teacher', {'config': config, 'timm': timm}, 'either config or timm')
        if '://' not in checkpoint and not Path(checkpoint).is_file():
            raise bad_value('teacher.checkpoint', checkpoint, 'the path of an existing file')
        if isinstance(config, str):
            config = Config.fromfile(_config_file(config))
        model: Any = _mmpretrain_model(config) if config is not None else _timm_model(str(timm))
        self.model = model
        own = _cropped_size(config) if config is not None else model.default_cfg.get('input_size', [None])[-1]
        self.size = own if size is None else check_int('teacher.size', size, 1)
        try:
            model.load_state_dict(_read_weights(checkpoint), strict=True)
        except RuntimeError as error:
            reason = ' '.join(str(error).split())
            raise ValueError(f'teacher.checkpoint: {checkpoint} does not fit the model: {reason}') from error
        self.classes = None if classes is None else self._checked_classes(classes)
        model.eval().requires_grad_(False)
        self._network: dict[str, Any]
        if isinstance(config, Config):
            self._preprocessor = model.data_preprocessor
            self._network = {'model': config.model, 'data_preprocessor': config.get('data_preprocessor')}
        else:
            self._network = {'timm': timm, 'mean': model.default_cfg['mean'], 'std': model.default_cfg['std']}
            mean, std = ([255 * value for value in model.default_cfg[name]] for name in ('mean', 'std'))
            self._preprocessor = ImgDataPreprocessor(mean, std, bgr_to_rgb=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> 'Teacher':
        return self  # a teacher never changes, so a moving average of the student can share it

    @property
    def num_classes(self) -> int:
        """Number of classes that the teacher's logits have."""
        return self._own_classes if self.classes is None else len(self.classes)

    @property
    def _own_classes(self) -> int:
        classifier: Any = self.model
        return int((classifier.head if self._is_mmpretrains else classifier).num_classes)

    def _checked_classes(self, classes: Sequence[int]) -> list[int]:
        found = [
            check_int(f'teacher.classes[{place}]', number, 0, self._own_classes - 1)
            for place, number in enumerate(check_list('teacher.classes', classes))
        ]
        if not found or len(set(found)) < len(found):
            raise bad_value('teacher.classes', found, 'a list of different classes')
        return found

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """Return the logits (B, classes) for pixels in BGR order, which the teacher's own preprocessor normalises."""
        logits: Tensor = self.model(self._inputs(pixels))
        return logits if self.classes is None else logits[:, self.classes]

    @torch.no_grad()
    def features(self, pixels: Tensor, kind: str) -> Tensor:
        """Return the features of images.

        Args:
            pixels: Pixels (B, 3, H, W) in BGR order, as for :meth:`logits`.
            kind: Kind of features: ``pooled`` for the input of the classifier's last layer, (B, C), or ``maps`` for the
                last map, (B, C, H, W).

        Raises:
            ValueError: If the teacher has no such features.
        """
        inputs = self._inputs(pixels)
        found = self._of_mmpretrain(inputs, kind) if self._is_mmpretrains else self._of_timm(inputs, kind)
        if kind == 'pooled' and found.dim() == 4:
            found = found.mean((2, 3))
        if found.dim() != (2 if kind == 'pooled' else 4):
            other = 'pooled' if kind == 'maps' else 'maps'
            allowed = f'{other!r}, if that is what the teacher has: it returns {tuple(found.shape)}'
            raise bad_value('features', kind, allowed)
        return found

    def record(self) -> dict[str, Any]:
        """Return what determines its outputs as plain JSON: digests of network and weights, image size and classes."""
        network = json.dumps(self._network, sort_keys=True, default=repr)
        weights = hashlib.sha256()
        for name, weight in sorted(self.model.state_dict().items()):
            weights.update(f'{name} {weight.dtype} {tuple(weight.shape)}'.encode())
            weights.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return {
            'network': hashlib.sha256(network.encode()).hexdigest(),
            'weights': weights.hexdigest(),
            'size': self.size,
            'classes': self.classes,
        }

    def feature_width(self, kind: str) -> int:
        """Return the number of channels of :meth:`features`."""
        side = SIDE if self.size is None else self.size
        return self.features(torch.zeros(1, 3, side, side), kind).shape[1]

    @property
    def _is_mmpretrains(self) -> bool:
        return hasattr(self.model, 'data_preprocessor')

    def _of_mmpretrain(self, inputs: Tensor, kind: str) -> Tensor:
        stage = {} if kind == 'pooled' or getattr(self.model, 'neck', None) is None else {'stage': 'backbone'}
        found: Tensor = self.model.extract_feat(inputs, **stage)[-1]
        return found

    def _of_timm(self, inputs: Tensor, kind: str) -> Tensor:
        model: Any = self.model
        if kind == 'pooled':
            pooled: Tensor = model.forward_head(model.forward_features(inputs), pre_logits=True)
            return pooled
        maps: list[Tensor] = model.forward_intermediates(
            inputs, indices=1, norm=True, output_fmt='NCHW', intermediates_only=True
        )
        return maps[-1]

    def _inputs(self, pixels: Tensor) -> Tensor:
        self.model.to(pixels.device)
        self._preprocessor.to(pixels.device)
        pixels = pixels if self.size is None else resized(pixels, self.size)
        inputs: Tensor = self._preprocessor({'inputs': pixels})['inputs']
        return inputs


class Lesson:
    """A teacher with the kind of output that a student learns from it, computed in each step or read from a folder.

    Args:
        cfg: Arguments of :class:`Teacher`; optionally with ``kept``, the folder of outputs that ``mmhybrid
            keep-teacher`` computed, which are then read instead of computed.
        kind: Kind of output: ``logits``, or one of :data:`FEATURES`.
        preprocessor: Data preprocessor of the student.

    Raises:
        ValueError: If an argument is wrong, the normalisation of the preprocessor is unknown, or outputs are kept while
            the preprocessor mixes images.
    """

    def __init__(self, cfg: Mapping[str, Any], kind: str, preprocessor: nn.Module) -> None:
        check_keys('teacher', cfg, ('checkpoint',), ('config', 'timm', 'size', 'classes', 'kept'))
        self.student = Normalisation.of(preprocessor).record()
        kept = cfg.get('kept')
        self.kept = None if kept is None else Path(check_class('teacher.kept', kept, str))
        if self.kept is not None and getattr(preprocessor, 'batch_augments', None) is not None:
            raise bad_value('teacher.kept', kept, 'None, where train_cfg.augments mixes images anew in each step')
        self.kind = kind
        self.teacher = Teacher(**{name: value for name, value in cfg.items() if name != 'kept'})
        self.width = self.teacher.num_classes if kind == 'logits' else self.teacher.feature_width(kind)
        self._outputs: KeptOutputs | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> 'Lesson':
        return self  # for the same reason as the teacher

    def computed(self, pixels: Tensor) -> Tensor:
        """Compute the teacher's output for pixels (see :meth:`Teacher.logits`), in at least float32."""
        if self.kind == 'logits':
            return at_least_float32(self.teacher.logits(pixels))
        return at_least_float32(self.teacher.features(pixels, self.kind))

    def of(self, pixels: Tensor, samples: Any) -> Tensor:
        """Return the teacher's output for pixels, computed now or read from the folder ``kept``.

        Args:
            pixels: Pixels of the images, see :meth:`Teacher.logits`.
            samples: Data samples of the batch, or None; their paths name images without kept outputs in errors.

        Raises:
            ValueError: If the kept outputs are not those of this teacher, or an image has none.
        """
        if self.kept is None:
            return self.computed(pixels)
        digests = digests_of(pixels, 'teacher.kept')
        if self._outputs is None:
            self._outputs = KeptOutputs(self.kept, self.kind, self.teacher.record(), self.student, self.width)
        names = [
            getattr(sample, 'img_path', f'image {place} of a batch')
            for place, sample in enumerate(samples or [None] * len(pixels))
        ]
        return self._outputs.of(digests, names).to(pixels.device)

    def plan(self, shape: Sequence[int], rows: int) -> KeptPlan:
        """Return the plan of kept outputs of a shape for a number of images."""
        return KeptPlan(self.kind, self.teacher.record(), self.student, list(shape), rows)


def _config_file(path: str) -> str:
    if '::' in path:
        try:
            return str(Config._get_cfg_path(path, '')[0])
        except (AssertionError, ImportError, OSError, ValueError) as error:
            raise bad_value('teacher.config', path, f'the name of a shipped config ({first_line(error)})') from error
    if not Path(path).is_file():
        raise bad_value('teacher.config', path, 'the path of an existing file')
    return path


def _mmpretrain_model(config: Config) -> nn.Module:
    cfg = copy.deepcopy(config)
    cfg.default_scope = 'mmpretrain'
    cfg.model.pop('train_cfg', None)
    model: nn.Module = build_model(cfg)
    return model


def _cropped_size(config: Config) -> int | None:
    """Return the side of the square images that a config's test pipeline produces; None if it does not name one."""
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
