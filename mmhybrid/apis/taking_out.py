"""Export of an architecture from a supernet as a network of its own, which needs no code of the search."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmhybrid.apis.narrowing import narrowed, widths_of
from mmhybrid.apis.weights import load_weights
from mmhybrid.archs.base import plain_arch
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.engine.bn_calibration import calibrated, calibration_batches
from mmhybrid.models.build import build_model, on_meta
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.models.fitting import with_settings, with_widths
from mmhybrid.models.one_shot import OneShot
from mmhybrid.registry import MODELS
from mmhybrid.space import Arch, SearchSpace, Value
from mmhybrid.space.found import Found, read_found
from mmhybrid.utils.checks import bad_value

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Standalone:
    """A network that is independent of its supernet.

    Args:
        model: Config of the model without its backbone.
        data_preprocessor: Config of the data preprocessor.
        backbone: Config of the backbone.
        channels: Numbers of channels of the backbone's outputs.
        weights: State dict of the model.
        difference: Largest difference from the supernet's outputs on real images, relative to the largest output.
        params_m: Number of parameters in millions.
        macs_m: Number of multiply-accumulates in millions, for an image of its size.
        image_shape: Height and width of the images after the data preprocessor; None if they are not known.
    """

    model: dict[str, Any]
    data_preprocessor: dict[str, Any] | None
    backbone: dict[str, Any]
    channels: tuple[int, ...]
    weights: dict[str, Tensor]
    difference: float
    params_m: float
    macs_m: float
    image_shape: tuple[int, int] | None = None


def found_in(space: SearchSpace, path: str | Path) -> Found:
    """Read a network from a file with :func:`read_found`, and check that it is in ``space``.

    The space that the file names is not used.

    Raises:
        ValueError: If the file cannot be read, or its arch is not in ``space``.
    """
    found = read_found(path)
    return replace(found, arch=arch_in(space, found.arch, f'{path}'))


def arch_in(space: SearchSpace, arch: Arch, source: str) -> Arch:
    """Return the arch in the space's canonical form.

    Raises:
        ValueError: If it is not in the space; the message begins with ``source``.
    """
    reason = space.why_not(arch)
    if reason is not None:
        raise ValueError(f'{source}: arch is not in the space: {reason}')
    return space.canonical(arch)


def build_supernet(cfg: Config, checkpoint: str | None) -> OneShot:
    """Build the model of a supernet's config with trained weights; without ``checkpoint``, it has no weights at all.

    Raises:
        ValueError: If the config is of another model, or the checkpoint does not fit.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with on_meta() if checkpoint is None else nullcontext():
        model = build_model(cfg)
    if not isinstance(model, OneShot):
        raise bad_value('model', type(model).__name__, 'mmhybrid.OneShot, the config of a supernet')
    if checkpoint is not None:
        load_weights(model, read_checkpoint(checkpoint), checkpoint)
    return model.eval()


def calibration_of(cfg: Config) -> dict[str, Any]:
    """Return the arguments of :func:`calibration_batches` in the config's search, or else in its validation.

    Raises:
        ValueError: If there are none.
    """
    for section in ('search_cfg', 'val_cfg'):
        calibration = (cfg.get(section) or {}).get('calibration')
        if calibration is not None:
            return dict(calibration)
    raise ValueError(f'{cfg.filename} lacks search_cfg.calibration or val_cfg.calibration')


@torch.no_grad()
def take_out(model: OneShot, cfg: Config, arch: Arch) -> Standalone:
    """Return the network of ``arch`` with batch-norm statistics of its own.

    Its outputs are compared with those of the supernet on real images.

    Raises:
        ValueError: If ``arch`` is not in the space, a head cannot be made narrower, or the network's outputs differ
            from the supernet's by more than :data:`TOLERANCE`.
    """
    model.set_arch(arch)
    batches = calibration_batches(**calibration_of(cfg))
    data = model.data_preprocessor(batches[0], False)
    with calibrated(model, batches):
        backbone_cfg, backbone = model.supernet.export()
        rest = {name: tensor.clone() for name, tensor in model.active.state_dict().items()}
        expected = _outputs(model, data)

    channels = widths_of(backbone_cfg)
    config = _model_config(cfg, channels, model.space.settings(arch))
    preprocessor = _preprocessor_config(model, cfg, arch, data['inputs'].shape[-2:])
    network = _build(config, preprocessor, backbone_cfg)
    wide, narrow = model.supernet.out_channels, channels
    own = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith('backbone.')}
    weights = {name: narrowed(name, rest[name], tensor.shape, wide, narrow) for name, tensor in own.items()}
    weights |= {f'backbone.{name}': tensor for name, tensor in backbone.items()}
    network.load_state_dict(weights)

    data = network.eval().data_preprocessor(batches[0], False)
    pairs = zip(_outputs(network, data), expected, strict=True)
    difference = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)
    if difference > TOLERANCE:
        raise ValueError(f'the exported network differs from the supernet by {difference:.1e}, allowed: {TOLERANCE}')
    cost = count_complexity(network, data['inputs'].shape[1:])
    params_m, macs_m, (height, width) = cost.params / 1e6, cost.macs / 1e6, data['inputs'].shape[-2:]
    return Standalone(
        config, preprocessor, backbone_cfg, channels, weights, difference, params_m, macs_m, (height, width)
    )


def untrained(model: OneShot, cfg: Config, arch: Arch, estimates: Mapping[str, float]) -> Standalone:
    """Return the network of ``arch`` with random weights; only the config of the supernet is used.

    Args:
        model: Supernet from :func:`build_supernet`, without weights.
        cfg: Config of the supernet.
        arch: The network.
        estimates: Estimates of the network with ``params_m`` and ``macs_m``.

    Raises:
        ValueError: If ``arch`` is not in the space.
    """
    model.set_arch(arch)
    backbone = {**model.supernet.backbone_cfg, 'arch': plain_arch(model.space.decode(arch))}
    channels = widths_of(backbone)
    config, preprocessor = (
        _model_config(cfg, channels, model.space.settings(arch)),
        _preprocessor_config(model, cfg, arch, ()),
    )
    network = _build(config, preprocessor, backbone)
    network.init_weights()
    costs = estimates['params_m'], estimates['macs_m']
    side = model.space.resolution(arch)
    shape = None if side is None else (side, side)
    return Standalone(config, preprocessor, backbone, channels, network.state_dict(), 0.0, *costs, shape)


def _build(config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None, backbone: Mapping[str, Any]) -> Any:
    """Build the network that the three configs describe."""
    given = {} if preprocessor is None else {'data_preprocessor': preprocessor}
    return MODELS.build(deepcopy({**config, **given, 'backbone': backbone}))  # OpenMMLab changes the dicts that it gets


def _model_config(cfg: Config, channels: Sequence[int], settings: Mapping[str, Value]) -> dict[str, Any]:
    """Return the config of the model around the supernet for a backbone with these channels.

    Neck and heads have the values of ``settings``.
    """
    config: dict[str, Any] = Config({'model': cfg.model.architecture}).to_dict()['model']
    config.pop('backbone')
    config.pop('data_preprocessor', None)
    return with_widths(with_settings(config, settings), channels)


def _preprocessor_config(model: OneShot, cfg: Config, arch: Arch, image: Sequence[int]) -> dict[str, Any] | None:
    """Return the data preprocessor of a network; it resizes if ``arch`` has another resolution than the pipeline."""
    places = cfg.model.architecture, cfg.model, cfg
    preprocessor = next((place.data_preprocessor for place in places if place.get('data_preprocessor')), None)
    size = model.space.resolution(arch)
    if preprocessor is None or not model.resizes or tuple(image) == (size, size):
        return None if preprocessor is None else dict(preprocessor)
    first = {'type': type(model.data_preprocessor).__name__, **preprocessor}
    return {'type': 'mmhybrid.ResizedInputs', 'size': size, 'preprocessor': first}


def _outputs(model: nn.Module, data: Mapping[str, Any]) -> list[Tensor]:
    """Return the tensors that a model returns for preprocessed images in tensor mode."""
    return list(_tensors(model(data['inputs'], data.get('data_samples'), mode='tensor')))


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, list | tuple):
        for output in outputs:
            yield from _tensors(output)
