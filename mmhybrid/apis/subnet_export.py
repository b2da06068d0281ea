"""From a supernet and an architecture to a config and weights of its own, which need no code of the search."""

import inspect
import io
import os
import shlex
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

from mmhybrid.apis.config_text import Expression, checked, config_text, docstring, literal
from mmhybrid.apis.configs import is_named, load_config
from mmhybrid.apis.weights import load_weights
from mmhybrid.archs.base import plain_arch
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.engine.bn_calibration import calibrated, calibration_batches
from mmhybrid.models.backbones.base import output_widths
from mmhybrid.models.build import build_model, build_on_meta, on_meta
from mmhybrid.models.checkpoints import read_checkpoint, write_safetensors
from mmhybrid.models.fitting import fitted, with_widths
from mmhybrid.models.one_shot import OneShot
from mmhybrid.registry import MODELS
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.space.found import Found, read_found
from mmhybrid.utils.checks import bad_value, check_name
from mmhybrid.utils.files import write_whole

TOLERANCE = 1e-5
# How detectors name what a pixel of a map is worth: anchors, RoI extractors, point generators, heads without anchors.
STRIDES = ('strides', 'featmap_strides', 'anchor_strides')
# Sections of an exported config, each with the settings it has of the supernet's.
SECTIONS = (
    ('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator'),
    ('optim_wrapper', 'param_scheduler', 'train_cfg', 'val_cfg', 'test_cfg', 'auto_scale_lr'),
    (
        'default_scope',
        'default_hooks',
        'custom_hooks',
        'env_cfg',
        'vis_backends',
        'visualizer',
        'log_processor',
        'log_level',
        'randomness',
        'sync_bn',
    ),
)
# What registers the backbones, hooks and loops of a config that names no other modules; no code of the search.
IMPORTS = {'imports': ['mmhybrid'], 'allow_failed_imports': False}


@dataclass(frozen=True)
class Standalone:
    """A network without its supernet.

    Args:
        model: Config; its ``backbone`` is in ``backbone``.
        data_preprocessor: Config.
        backbone: Config.
        channels: Of the backbone's outputs.
        weights: State dict of the model.
        difference: To the supernet's outputs on real images, relative to the largest of them.
        params_m: Millions of parameters.
        macs_m: Millions of multiply-accumulates, for an image of this size.
        image_shape: Height and width of the images that it takes behind its preprocessor; None if that is not known.
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
    """Read a network of ``space`` from a file, as :func:`read_found` does; the space that the file names is not asked.

    Raises:
        ValueError: If the file cannot be read, or its arch is not in ``space``.
    """
    found = read_found(path)
    reason = space.why_not(found.arch)
    if reason is not None:
        raise ValueError(f'{path}: arch is not in the space: {reason}')
    return replace(found, arch=space.canonical(found.arch))


def build_supernet(cfg: Config, checkpoint: str | None) -> OneShot:
    """The model of a supernet's config with trained weights, or without ``checkpoint`` with none at all.

    Raises:
        ValueError: If it is another model, or the checkpoint does not fit.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with on_meta() if checkpoint is None else nullcontext():
        model = build_model(cfg)
    if not isinstance(model, OneShot):
        raise bad_value('model', type(model).__name__, 'mmhybrid.OneShot, the config of a supernet')
    if checkpoint is None:
        return model.eval()
    load_weights(model, read_checkpoint(checkpoint), checkpoint)
    return model.eval()


def calibration_of(cfg: Config) -> dict[str, Any]:
    """Arguments of :func:`calibration_batches` that the config's search, or its validation, uses.

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
    """The network of ``arch``, with batch-norm statistics of its own, compared with the supernet on real images.

    Raises:
        ValueError: If ``arch`` is not in the space, a head cannot be made narrower, or the network differs from the
            supernet by more than :data:`TOLERANCE`.
    """
    model.set_arch(arch)
    batches = calibration_batches(**calibration_of(cfg))
    data = model.data_preprocessor(batches[0], False)
    with calibrated(model, batches):
        backbone_cfg, backbone = model.supernet.export()
        rest = {name: tensor.clone() for name, tensor in model.architecture.state_dict().items()}
        expected = _outputs(model, data)

    channels = widths_of(backbone_cfg)
    config = _model_config(cfg, channels)
    preprocessor = _preprocessor_config(model, cfg, arch, data['inputs'].shape[-2:])
    given = {} if preprocessor is None else {'data_preprocessor': preprocessor}
    # hosts write into what they are given
    network = MODELS.build(deepcopy({**config, **given, 'backbone': backbone_cfg}))
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
    """The network of ``arch`` with random weights, of which the supernet is asked for nothing but its config.

    Args:
        model: From :func:`build_supernet`, without weights.
        cfg: Of the supernet.
        arch: The network.
        estimates: Its ``params_m`` and ``macs_m``.

    Raises:
        ValueError: If ``arch`` is not in the space.
    """
    model.set_arch(arch)
    backbone = {**model.supernet.backbone_cfg, 'arch': plain_arch(model.space.decode(arch))}
    channels = widths_of(backbone)
    config, preprocessor = _model_config(cfg, channels), _preprocessor_config(model, cfg, arch, ())
    given = {} if preprocessor is None else {'data_preprocessor': preprocessor}
    network = MODELS.build(deepcopy({**config, **given, 'backbone': backbone}))
    network.init_weights()
    costs = estimates['params_m'], estimates['macs_m']
    side = model.space.resolution(arch)
    shape = None if side is None else (side, side)
    return Standalone(config, preprocessor, backbone, channels, network.state_dict(), 0.0, *costs, shape)


def _model_config(cfg: Config, channels: Sequence[int]) -> dict[str, Any]:
    """The model around the supernet of ``cfg``, with neck and heads for a backbone with these outputs."""
    config: dict[str, Any] = Config({'model': cfg.model.architecture}).to_dict()['model']
    config.pop('backbone')
    config.pop('data_preprocessor', None)
    return with_widths(config, channels)


def _preprocessor_config(model: OneShot, cfg: Config, arch: Arch, image: Sequence[int]) -> dict[str, Any] | None:
    """The data preprocessor of a network; it resizes where ``arch`` asks for another size than the pipeline's."""
    places = cfg.model.architecture, cfg.model, cfg
    preprocessor = next((place.data_preprocessor for place in places if place.get('data_preprocessor')), None)
    size = model.space.resolution(arch)
    if preprocessor is None or not model.resizes or tuple(image) == (size, size):
        return None if preprocessor is None else dict(preprocessor)
    first = {'type': type(model.data_preprocessor).__name__, **preprocessor}
    return {'type': 'mmhybrid.ResizedInputs', 'size': size, 'preprocessor': first}


def widths_of(backbone: Mapping[str, Any]) -> tuple[int, ...]:
    """Channels of the outputs of the backbone that a config describes."""
    return output_widths(build_on_meta(backbone), backbone.get('in_channels', 3))


def narrowed(name: str, tensor: Tensor, shape: torch.Size, wide: Sequence[int], narrow: Sequence[int]) -> Tensor:
    """A tensor of a neck or head without the channels that are zero for the subnet.

    Those of output k lie behind its own, whether a layer reads output k alone or with others after it.
    """
    for axis, (have, want) in enumerate(zip(tensor.shape, shape, strict=True)):
        if have != want:
            places = [k for k, width in enumerate(wide) if width - narrow[k] == have - want and width <= have]
            if not places:
                raise ValueError(f'{name} cannot be made narrower, from {have} to {want} channels')
            k = next((k for k in places if wide[k] == have), places[-1])
            parts = tensor.narrow(axis, 0, narrow[k]), tensor.narrow(axis, wide[k], have - wide[k])
            tensor = torch.cat(parts, axis)
    return tensor.clone()


def _outputs(model: nn.Module, data: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that a model gives for preprocessed images in tensor mode."""
    return list(_tensors(model(data['inputs'], data.get('data_samples'), mode='tensor')))


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, list | tuple):
        for output in outputs:
            yield from _tensors(output)


def write_network(
    network: Standalone, cfg: Config, folder: str | Path, name: str, metrics: Mapping[str, float]
) -> list[Path]:
    """Write ``<name>_backbone.py``, ``<name>.py``, ``<name>.pth`` and ``<name>.safetensors``, each whole or not at all.

    Args:
        network: From :func:`take_out`.
        cfg: Of the supernet; gives the data, the schedule and the runtime.
        folder: Made if missing.
        name: Of the files, see :func:`check_name`.
        metrics: The scores that the search recorded, for the docstring.

    Raises:
        ValueError: If ``name`` is no plain name, the path of ``folder`` cannot stand in a config, or a setting of
            ``cfg`` has a value that is no literal.
    """
    check_name('name', name)
    folder = Path(folder)
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {end: folder / f'{name}{end}' for end in ('_backbone.py', '.py', '.pth', '.safetensors')}
    checkpoint = io.BytesIO()
    meta: dict[str, Any] = {'metrics': dict(metrics)}
    if network.image_shape is not None:
        meta['image_shape'] = list(network.image_shape)
    torch.save({'state_dict': network.weights, 'meta': meta}, checkpoint)
    lines = '\n'.join(f'{key}: {value}' for key, value in described(network, metrics).items())
    contents: dict[str, bytes | str] = {
        '.pth': checkpoint.getvalue(),
        '_backbone.py': _backbone_text(network, lines, paths['.pth'].name),
        '.py': _config_text(network, cfg, lines, paths),
    }
    write_safetensors(paths['.safetensors'], network.weights)
    for end, content in contents.items():
        write_whole(paths[end], content)
    return list(paths.values())


def _check_folder(folder: Path) -> None:
    """Raise ValueError for a path that MMEngine, which puts it into the text of a config, would make code of."""
    path = str(folder.resolve())
    if not path.isprintable() or any(sign in path for sign in '\'"\\{}'):
        raise bad_value(
            'folder', path, "a path without quotes, backslashes and braces, since it stands in the config's text"
        )


def described(network: Standalone, metrics: Mapping[str, float]) -> dict[str, str]:
    """What to tell of a network, by name."""
    costs = {'params_m': f'{network.params_m:.4g}', 'macs_m': f'{network.macs_m:.4g}'}
    if network.image_shape is not None:
        costs['resolution'] = f'{network.image_shape[0]} x {network.image_shape[1]}'
    return {**{name: f'{value:.6g}' for name, value in metrics.items()}, **costs}


def _backbone_text(network: Standalone, about: str, weights: str) -> str:
    path = literal(f'/{weights}').replace('/', '{{ fileDirname }}/', 1)
    searched = {
        'backbone': network.backbone,
        # MMEngine fills the folder in, so that it can be moved
        'pretrained': {'type': 'Pretrained', 'checkpoint': Expression(path), 'prefix': 'backbone.'},
        'channels': list(network.channels),
    }
    head = docstring(f'The backbone of a searched network.\n\n{about}')
    return checked(head + config_text({'searched': searched}))


def _config_text(network: Standalone, cfg: Config, about: str, paths: Mapping[str, Path]) -> str:
    command = shlex.join(['python', 'tools/test.py', str(paths['.py']), str(paths['.pth']), '--split', 'val'])
    model = {'type': network.model['type'], 'backbone': Expression('_base_.searched.backbone')}
    model |= {name: value for name, value in network.model.items() if value is not None}
    given = {} if network.data_preprocessor is None else {'data_preprocessor': network.data_preprocessor}
    settings = _without_scopes(cfg.to_dict()) | {'val_cfg': {}}
    sections = [{'model': model | given} if 'data_preprocessor' not in cfg else given | {'model': model}]
    sections += [{key: settings[key] for key in keys if settings.get(key) is not None} for keys in SECTIONS]
    head = docstring(f'A searched network.\n\nIts score: ``{command}``\n{about}')
    bases = config_text({'_base_': [f'./{paths["_backbone.py"].name}']}) + '\n'
    sections.append({'custom_imports': settings.get('custom_imports') or IMPORTS})
    return checked(head + bases + '\n'.join(map(config_text, sections)))


def _without_scopes(settings: Any) -> Any:
    """Without the notes that MMEngine leaves where a config is based on one of another package."""
    if isinstance(settings, dict):
        return {key: _without_scopes(value) for key, value in settings.items() if key != '_scope_'}
    return [_without_scopes(value) for value in settings] if isinstance(settings, list) else settings


def write_host_config(network: Standalone, target: str, folder: str | Path, name: str) -> Path:
    """Write ``<name>_<target>.py``: the config ``target`` with this backbone in place of its own.

    A classifier starts from scratch, as retraining does; every other model from the exported weights.

    Args:
        network: From :func:`take_out`, written by :func:`write_network`.
        target: A config file, or the name of a shipped one.
        folder: The folder that :func:`write_network` wrote into.
        name: The name that it gave its files.

    Raises:
        ValueError: If the backbone of ``target`` is of another family, more outputs are read than there are, or
            ``target`` has strides that are not those of the network's patches.
    """
    check_name('name', name)
    cfg = load_config(target)
    model = cfg.get('model') or {}
    theirs = dict(model.get('backbone') or {})
    if theirs.get('type') != network.backbone['type']:
        raise bad_value(f'{target}: model.backbone.type', theirs.get('type'), network.backbone['type'])
    options = {key: value for key, value in theirs.items() if key not in (*network.backbone, 'init_cfg')}
    _check_strides(target, model, theirs, network.backbone)
    changes: dict[str, Any] = fitted(model, widths_of({**network.backbone, **options}))
    resizing: dict[str, Any] = {}
    if str(model.get('type')).endswith('ImageClassifier'):
        resizing = _resizing(network, model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})
    else:
        options['init_cfg'] = Expression('_base_.searched.pretrained')
    backbone = {'_delete_': True, '**': Expression('_base_.searched.backbone'), **options}
    base = target if is_named(target) else os.path.relpath(target, folder)
    bases = [base, f'./{name}_backbone.py']
    path = Path(folder, f'{name}_{Path(target).stem}.py')
    head = docstring(f'{Path(target).stem} with the backbone of a searched network.')
    changes = {'backbone': backbone, **changes}
    settings = {'model': changes | resizing} if 'data_preprocessor' in model else resizing | {'model': changes}
    text = config_text({'_base_': bases}) + '\n' + config_text(settings)
    write_whole(path, checked(head + text))
    return path


def _check_strides(target: str, model: Mapping[str, Any], theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise ValueError if ``model`` names strides (of anchors, of RoIs) and the backbone's patches are of another size.

    The strides that a detector counts with belong to the size of its backbone's patches; nothing would fail, but boxes
    would be looked for in the wrong places.
    """
    sizes = [_patch_size(backbone) for backbone in (theirs, ours)]
    if sizes[0] == sizes[1]:
        return
    if strides := next(_strides({name: part for name, part in model.items() if name != 'backbone'}, 'model'), None):
        raise ValueError(
            f'{target}: {strides} are those of patches of {sizes[0]} pixels, and the searched network has patches of '
            f'{sizes[1]}; search with patch_size={sizes[0]}, or change patch_size and all strides of a copy of {target}'
        )


def _patch_size(backbone: Mapping[str, Any]) -> int | None:
    """Of a backbone's config, by its class where the config does not say it; None without patches."""
    parameter = inspect.signature(MODELS.get(str(backbone['type']))).parameters.get('patch_size')
    size: int | None = backbone.get('patch_size', None if parameter is None else parameter.default)
    return size


def _strides(config: Any, path: str) -> Iterator[str]:
    """The settings of strides in a config, by their dotted names."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            if name in STRIDES and not isinstance(value, Mapping):
                yield f'{path}.{name} = {value}'
            yield from _strides(value, f'{path}.{name}')
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            yield from _strides(value, f'{path}.{index}')


def _resizing(network: Standalone, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """A data preprocessor as ``theirs`` that resizes images as the network's own does."""
    ours = network.data_preprocessor or {}
    if ours.get('type') != 'mmhybrid.ResizedInputs':
        return {}
    first = {'type': ours['preprocessor']['type'], **theirs}
    return {'data_preprocessor': {'_delete_': True, **ours, 'preprocessor': first}}
