"""Packages that only some of mmhybrid needs, and the extra of its installation that brings each."""

import re
from importlib import import_module, metadata
from types import ModuleType

# By the name that is imported; requirements/extras holds what each extra installs.
EXTRAS = {
    'coremltools': 'export',
    'executorch': 'executorch',
    'ftfy': 'dense',
    'kmedoids': 'pictures',
    'onnx': 'export',
    'onnxruntime': 'export',
    'onnxscript': 'export',
    'openvino': 'export',
    'optuna': 'search',
    'pycocotools': 'dense',
    'regex': 'dense',
}
HOSTS = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg')
INSTALL_HOSTS = "pip install 'mmhybrid[openmmlab]', or 'mmhybrid[onedl]' for their maintained continuation"


class MissingPackageError(ImportError, ValueError):
    """A package is not installed that the user asked for by what was called; the message says how to install it."""


def require(module: str, purpose: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: Its name when it is imported.
        purpose: What needs it, the subject of the message.

    Raises:
        MissingPackageError: With the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition('.')[0]
        raise MissingPackageError(f'{purpose} needs the package {package}: {how_to_install(package)}') from error


def how_to_install(module: str) -> str:
    """The command that installs a package, by the name that is imported."""
    if module in HOSTS:
        return INSTALL_HOSTS
    return f"pip install 'mmhybrid[{EXTRAS[module]}]'" if module in EXTRAS else f'pip install {module}'


def is_of_onedl(module: str) -> bool:
    """Whether a host's module is of the maintained continuation, whose distributions have other names."""
    try:
        metadata.version(f'onedl-{module}')
    except metadata.PackageNotFoundError:
        return False
    return True


def told(error: ImportError) -> str:
    """What an import failed for, in a line, and the command that installs it where that is known."""
    text = ' '.join(str(error).split())
    # MMEngine says "mmdet is not installed", Python names the module
    named = error.name or next(iter(re.findall(r'^(\w+) is not installed', text)), '')
    package = named.partition('.')[0]
    return f'{text}: {how_to_install(package)}' if package in (*EXTRAS, *HOSTS) else text
