"""Configs from files or by name, with overridden settings, checked before anything is built from them."""

import inspect
import os
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from mmhybrid.apis.config_checks import check_config
from mmhybrid.apis.config_variables import given
from mmhybrid.utils.addresses import mask_settings, masked
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.errors import first_line
from mmhybrid.utils.files import drop_link_outward
from mmhybrid.utils.optional import HOSTS, how_to_install, told

# Names that MMEngine reads from the config, besides the arguments of its Runner.
_CONFIG_NAMES = (
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
)


def load_config(
    path: str, options: Mapping[str, Any] | None = None, work_dir: str | None = None, launcher: str = 'none'
) -> Config:
    """Load a config file, with the settings of the command line.

    Args:
        path: Python, JSON or YAML file, or the name of a config in the package (``mmhybrid::glnet/glnet_4g_in1k.py``).
        options: Overridden settings by dotted name. Settings that a config computes from a variable follow, see
            :func:`given`.
        work_dir: Folder of logs and checkpoints; None for the config's own, or ``./work_dirs/<name of the config>``.
        launcher: One of :data:`mmhybrid.engine.ranks.LAUNCHERS`.

    Raises:
        ValueError: If the file is missing or broken, if neither the config nor MMEngine's Runner knows the name of a
            setting, or if the config has no place for a setting.
    """
    file = config_file(path)
    try:
        with given(options or {}):
            cfg = Config.fromfile(file)
    except Exception as error:  # a config is a user's program and may raise anything
        reason = told(error) if isinstance(error, ImportError) else first_line(error)
        raise ValueError(f'config {path} cannot be read: {type(error).__name__}: {reason}') from error
    if cfg.get('default_scope') in tuple(HOSTS) and find_spec(cfg.default_scope) is None:
        raise ValueError(f'config {path} needs {cfg.default_scope}: {how_to_install(cfg.default_scope)}')
    check_option_names(options or {}, cfg)
    try:
        cfg.merge_from_dict(dict(options or {}))
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f'--cfg-options do not fit {path}: {first_line(error)}') from error
    if any(option.partition('.')[0] == 'custom_imports' for option in options or {}):
        import_modules(cfg)
    check_config(path, cfg)
    hide_passwords(cfg)
    cfg.work_dir = work_dir or cfg.get('work_dir') or os.path.join('work_dirs', Path(path).stem)
    if '://' in cfg.work_dir:
        raise bad_value('work_dir', cfg.work_dir, 'a folder of this machine')
    cfg.launcher = launcher
    return cfg


def import_modules(cfg: Config) -> None:
    """Import the modules that ``custom_imports`` names; MMEngine imports those of the file, before there are options.

    Raises:
        ValueError: If a module cannot be imported.
    """
    try:
        import_modules_from_strings(**cfg.custom_imports)
    except (ImportError, TypeError) as error:
        raise ValueError(f'--cfg-options custom_imports: {first_line(error)}') from error


def config_file(path: str) -> str:
    """Return the path of a config.

    Args:
        path: A file, or a name that MMEngine accepts in ``_base_``: ``mmhybrid::glnet/glnet_4g_in1k.py``.

    Raises:
        ValueError: If there is no such file.
    """
    if is_named(path):
        try:
            return str(Config._get_cfg_path(path, '')[0])
        except (AssertionError, ImportError, OSError, ValueError) as error:
            raise ValueError(f'config {path} cannot be found: {first_line(error)}') from error
    if not Path(path).is_file():
        raise ValueError(f'config {path} does not exist')
    return path


def is_named(path: str) -> bool:
    """Return whether a config is given by its name in an installed package, not by its file."""
    return '::' in path


def hide_passwords(cfg: Config) -> None:
    """Mask the password of the search's storage, before MMEngine writes the config anywhere."""
    for section in ('search_cfg', 'val_cfg'):
        storage = (cfg.get(section) or {}).get('storage')
        if isinstance(storage, str):
            cfg[section].storage = masked(storage)
    mask_settings(cfg._cfg_dict)


def drop_links_of_runner(cfg: Config) -> None:
    """Remove links that would let MMEngine write its copy of the config, or its logs, outside the work folder.

    The logs go into a folder that is named by the second in which they begin, and which may be there before.
    """
    if not cfg.get('work_dir'):
        return
    if cfg.filename:
        drop_link_outward(Path(cfg.work_dir, Path(cfg.filename).name))
    now = time.strftime('%Y%m%d_%H%M%S')
    for folder in Path(cfg.work_dir).glob('????????_??????'):
        if folder.name >= now:
            for path in (folder, *folder.rglob('*')):
                if path.is_symlink():
                    path.unlink(missing_ok=True)


def check_option_names(options: Mapping[str, Any], cfg: Mapping[str, Any]) -> None:
    """Raise ValueError for a top-level name of ``options`` that neither ``cfg`` nor MMEngine's Runner knows."""
    runner_names = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    known = runner_names | set(cfg.keys()) | set(_CONFIG_NAMES)
    for option in options:
        name = option.partition('.')[0]
        if name not in known:
            raise bad_value('--cfg-options', name, f'one of {", ".join(sorted(known))}')
