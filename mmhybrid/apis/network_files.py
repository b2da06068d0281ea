"""Functions that write the files of an exported network: weights, and configs that read as if written by hand."""

import hashlib
import io
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmhybrid.apis.config_text import Expression, checked, config_text, docstring, literal
from mmhybrid.apis.taking_out import Standalone
from mmhybrid.models.checkpoints import write_safetensors
from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value, check_name
from mmhybrid.utils.files import drop_link_outward, write_whole

# Sections of an exported config, with the settings that are copied from the supernet's config.
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
# Import that registers the backbones, hooks and loops of a config that names no other modules. It imports no code of
# the search.
IMPORTS = {'imports': ['mmhybrid'], 'allow_failed_imports': False}


def write_network(
    network: Standalone, cfg: Config, folder: str | Path, name: str, metrics: Mapping[str, float]
) -> list[Path]:
    """Write ``<name>_backbone.py``, ``<name>.py``, ``<name>.pth`` and ``<name>.safetensors``, each whole or not at all.

    Args:
        network: Network from :func:`mmhybrid.apis.taking_out.take_out`.
        cfg: Config of the supernet, which gives the data, the schedule and the runtime.
        folder: Folder of the files; it is created if it does not exist.
        name: Name of the files, see :func:`check_name`.
        metrics: Scores that the search recorded; they are written into the docstrings and the checkpoint.

    Raises:
        ValueError: If ``name`` is not a plain name, the path of ``folder`` cannot be part of a config, or a value in
            ``cfg`` is not a literal.
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
    for path in paths.values():
        drop_link_outward(path)
    write_safetensors(paths['.safetensors'], network.weights)
    for end, content in contents.items():
        write_whole(paths[end], content)
    return list(paths.values())


def name_of(arch: Arch) -> str:
    """Return the name of a network's folder, which contains a hash of the genes."""
    return f'net_{hashlib.sha256(arch.to_json().encode()).hexdigest()[:8]}'


def _check_folder(folder: Path) -> None:
    """Raise ValueError for a path that would become code when MMEngine inserts it into the text of a config."""
    path = str(folder.resolve())
    if not path.isprintable() or any(sign in path for sign in '\'"\\{}'):
        raise bad_value(
            'folder', path, "a path without quotes, backslashes and braces, since it stands in the config's text"
        )


def described(network: Standalone, metrics: Mapping[str, float]) -> dict[str, str]:
    """Return scores and costs of a network as text, by name."""
    costs = {'params_m': f'{network.params_m:.4g}', 'macs_m': f'{network.macs_m:.4g}'}
    if network.image_shape is not None:
        costs['resolution'] = f'{network.image_shape[0]} x {network.image_shape[1]}'
    return {**{name: f'{value:.6g}' for name, value in metrics.items()}, **costs}


def _backbone_text(network: Standalone, about: str, weights: str) -> str:
    path = literal(f'/{weights}').replace('/', '{{ fileDirname }}/', 1)
    searched = {
        'backbone': network.backbone,
        # MMEngine inserts the folder, so that the files can be moved
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
    """Return settings without the entries that MMEngine adds to a config based on one of another package."""
    if isinstance(settings, dict):
        return {key: _without_scopes(value) for key, value in settings.items() if key != '_scope_'}
    return [_without_scopes(value) for value in settings] if isinstance(settings, list) else settings
