"""Configs of other models with a searched network in place of their own backbone."""

import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmhybrid.apis.config_text import Expression, checked, config_text, docstring
from mmhybrid.apis.configs import is_named, load_config
from mmhybrid.apis.narrowing import widths_of
from mmhybrid.apis.taking_out import Standalone
from mmhybrid.models.fitting import fitted
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import bad_value, check_name
from mmhybrid.utils.files import drop_link_outward, write_whole

# Names of settings for the strides of feature maps: in anchors, RoI extractors, point generators, anchor-free heads.
STRIDES = ('strides', 'featmap_strides', 'anchor_strides')


def write_host_config(network: Standalone, target: str, folder: str | Path, name: str) -> Path:
    """Write ``<name>_<target>.py``: the config ``target`` with this backbone in place of its own.

    A classifier starts from scratch, as in retraining; every other model starts from the exported weights.

    Args:
        network: Network from :func:`mmhybrid.apis.taking_out.take_out`.
        target: A config file, or the name of a config in the package.
        folder: Folder into which :func:`mmhybrid.apis.network_files.write_network` wrote the network.
        name: Name of the network's files.

    Raises:
        ValueError: If the backbone of ``target`` is of another family, if more outputs are read than the network has,
            or if the strides of ``target`` do not fit the network's patch size.
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
    path = host_config_file(folder, name, target)
    head = docstring(f'{Path(target).stem} with the backbone of a searched network.')
    changes = {'backbone': backbone, **changes}
    settings = {'model': changes | resizing} if 'data_preprocessor' in model else resizing | {'model': changes}
    text = config_text({'_base_': bases}) + '\n' + config_text(settings)
    drop_link_outward(path)
    write_whole(path, checked(head + text))
    return path


def host_config_file(folder: str | Path, name: str, target: str) -> Path:
    """Return the path of the file that :func:`write_host_config` writes."""
    return Path(folder, f'{name}_{Path(target).stem}.py')


def _check_strides(target: str, model: Mapping[str, Any], theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise ValueError if ``model`` names strides (of anchors, of RoIs) and the backbone's patch size is another one.

    The strides of a detector depend on the patch size of its backbone. With another patch size nothing would fail, but
    boxes would be looked for in the wrong places.
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
    """Return the patch size of a backbone's config, or of its class if the config has none; None without patches."""
    parameter = inspect.signature(MODELS.get(str(backbone['type']))).parameters.get('patch_size')
    size: int | None = backbone.get('patch_size', None if parameter is None else parameter.default)
    return size


def _strides(config: Any, path: str) -> Iterator[str]:
    """Yield the settings of strides in a config, with their dotted names."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            if name in STRIDES and not isinstance(value, Mapping):
                yield f'{path}.{name} = {value}'
            yield from _strides(value, f'{path}.{name}')
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            yield from _strides(value, f'{path}.{index}')


def _resizing(network: Standalone, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data preprocessor like ``theirs`` that resizes images as the network's own does."""
    ours = network.data_preprocessor or {}
    if ours.get('type') != 'mmhybrid.ResizedInputs':
        return {}
    first = {'type': ours['preprocessor']['type'], **theirs}
    return {'data_preprocessor': {'_delete_': True, **ours, 'preprocessor': first}}
