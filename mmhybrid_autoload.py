"""Lets programs that know nothing of mmhybrid find its operators for MMCV and its configs.

MMDetection's ``tools/test.py`` and its inferencers import ``mmcv.ops`` before a config could name mmhybrid in
``custom_imports``, and so do processes that a data loader spawns; the base ``mmhybrid::...`` of a config is read before
its ``custom_imports`` are. Torch calls :func:`find_operators` at the end of its own import (entry points
``torch.backends``, since torch 2.5). This module is outside the package, whose import would take a second: nothing of
mmhybrid is imported unless ``mmcv._ext`` is, and nothing else provides it.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

Execute = Callable[[ModuleType], None]

CONFIGS = 'mmengine.config.config'
SCOPE = 'mmhybrid::'


def find_operators() -> None:
    """Have mmhybrid asked for ``mmcv._ext`` where all other finders have failed, and its configs found.

    Torch calls it by this name, which the metadata of installations keep.
    """
    sys.meta_path.append(_Finder())
    find_configs()


def find_configs() -> None:
    """Let MMEngine find ``mmhybrid::<path below configs>``, now or when it is imported; again is harmless."""
    if CONFIGS in sys.modules:
        name_configs(sys.modules[CONFIGS])
    else:
        around_import(CONFIGS, _name_behind)


def around_import(name: str, execute: Callable[[ModuleType, Execute], None]) -> None:
    """Have ``execute`` called with the module of this name and what executes it, when it is imported.

    Again for the same name is harmless. A module that is imported already is left alone.
    """
    if not any(isinstance(finder, _AroundImport) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _AroundImport(name, execute))


def name_configs(module: ModuleType) -> None:
    """Let ``_base_`` and ``mmengine.hub.get_config`` take ``mmhybrid::<path below configs>``; again is harmless.

    Cause: MMEngine knows the names of OpenMMLab's own packages alone, and builds whatever comes from ``xxx::`` in the
    scope ``xxx``; ours are configs of a host, as their ``default_scope`` says. And it looks for ``mmseg::`` in a
    distribution mmsegmentation, where onedl-mmsegmentation may have the module.

    Args:
        module: ``mmengine.config.config``.
    """
    known = sys.modules['mmengine.config.utils'].MODULE2PACKAGE
    if 'mmhybrid' in known:
        return
    # where there is no distribution of the name, MMEngine asks for the module
    known.update({name: name for name, package in known.items() if find_spec(name) and not _is_installed(package)})
    # What MMEngine looks up as a distribution, then as a module whose folder is the package's. Of an editable
    # installation, the distribution mmhybrid has another folder.
    known['mmhybrid'] = 'mmhybrid.version'
    module.Config._get_cfg_path = staticmethod(partial(_config_path, module.Config._get_cfg_path))


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _config_path(of_others: Callable[[str, str], tuple[str, Any]], name: str, filename: str) -> tuple[str, Any]:
    """What ``Config._get_cfg_path`` returns: the path of a base, and the scope that it is built in."""
    if not name.startswith(SCOPE):
        return of_others(name, filename)
    spec = find_spec('mmhybrid')
    assert spec is not None
    assert spec.origin is not None
    below = Path(name.removeprefix(SCOPE))
    path = Path(spec.origin).parent / '.mim/configs' / below
    if below.is_absolute() or '..' in below.parts:
        raise FileNotFoundError(f'{name}: no path below the configs of mmhybrid')
    if not path.is_file():
        raise FileNotFoundError(f'{name}: there is no {path}')
    return str(path), None


def _name_behind(module: ModuleType, execute: Execute) -> None:
    execute(module)
    name_configs(module)


class _Finder(MetaPathFinder):
    """Asks mmhybrid for ``mmcv._ext``, and imports it for that, where all other finders have failed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of the stand-in; None for any other module."""
        if fullname != 'mmcv._ext':
            return None
        from mmhybrid import mmcv_ops

        return mmcv_ops.find(fullname)


class _AroundImport(MetaPathFinder):
    """Finds one module as Python would; what executes it is handed to a function."""

    def __init__(self, name: str, execute: Callable[[ModuleType, Execute], None]) -> None:
        self.name = name
        self._execute = execute

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of the module; None for any other, which is left to the other finders."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self.name else None
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: self._execute(module, execute)  # type: ignore[method-assign]
        return spec
