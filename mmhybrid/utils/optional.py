"""Packages that only some of mmhybrid needs, and the extra of its installation that brings each."""

from importlib import import_module
from types import ModuleType

# By the name that is imported; requirements/extras holds what each extra installs.
EXTRAS = {
    'coremltools': 'export',
    'ftfy': 'dense',
    'kmedoids': 'pictures',
    'onnx': 'export',
    'onnxruntime': 'export',
    'onnxscript': 'export',
    'optuna': 'search',
    'pycocotools': 'dense',
    'regex': 'dense',
}
HOSTS = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg')
INSTALL_HOSTS = (
    "pip install 'mmhybrid[openmmlab]', or 'mmhybrid[onedl]' for their maintained continuation, or as you install it"
)


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
        raise MissingPackageError(f'{purpose} needs the package {module}: {how_to_install(module)}') from error


def how_to_install(module: str) -> str:
    """The command that installs a package, by the name that is imported."""
    if module in HOSTS:
        return INSTALL_HOSTS
    return f"pip install 'mmhybrid[{EXTRAS[module]}]'" if module in EXTRAS else f'pip install {module}'
