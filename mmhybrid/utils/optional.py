"""Optional packages of mmhybrid, and the extra of its installation that brings each."""

import re
from importlib import import_module, metadata
from types import ModuleType

# The keys are the names that are imported; requirements/extras holds what each extra installs.
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
# Each module has two requirements: as OpenMMLab released it, and as it is maintained. A file in
# requirements/extras has all requirements of one kind.
HOSTS = {
    'mmengine': ('mmengine>=0.10.7,<1', 'onedl-mmengine>=0.10.12'),
    'mmcv': ('mmcv-lite>=2.1.0,<2.2', 'onedl-mmcv>=2.3.6'),
    'mmpretrain': ('mmpretrain>=1.2.0', 'onedl-mmpretrain>=1.3.6'),
    'mmdet': ('mmdet>=3.3.0', 'onedl-mmdetection>=3.5.1'),
    'mmseg': ('mmsegmentation>=1.2.2', 'onedl-mmsegmentation>=1.4.2'),
}
INSTALL_HOSTS = "pip install 'mmhybrid[openmmlab]', or 'mmhybrid[onedl]' for their maintained continuation"
EXTENSION = 'mmcv._ext'  # the compiled module of MMCV, for which mmhybrid.mmcv_ops stands in
NO_OPERATORS = (
    'MMCV is not compiled, and mmhybrid replaces its operators only if torchvision is of the same release and build as '
    'torch, the operators of torchvision load, and MMHYBRID_MMCV_OPS is not 0'
)


class MissingPackageError(ImportError, ValueError):
    """Raised when a package that a call needs is not installed; the message says how to install it."""


def require(module: str, purpose: str) -> ModuleType:
    """Import an optional package and return it.

    Args:
        module: Name of the module that is imported.
        purpose: Task that needs the package, the subject of the message.

    Raises:
        MissingPackageError: If it is not installed; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition('.')[0]
        raise MissingPackageError(f'{purpose} needs the package {package}: {how_to_install(package)}') from error


def how_to_install(module: str) -> str:
    """Return the command that installs the package of an imported name."""
    if module == 'mmengine':
        return INSTALL_HOSTS
    if module in HOSTS:  # alone, because its line's extra would put mmcv-lite over a compiled MMCV
        return f"pip install '{HOSTS[module][is_of_onedl('mmengine')]}'"
    return f"pip install 'mmhybrid[{EXTRAS[module]}]'" if module in EXTRAS else f'pip install {module}'


def is_of_onedl(module: str) -> bool:
    """Return whether a module of OpenMMLab comes from its continuation ``onedl-*``."""
    try:
        metadata.version(f'onedl-{module}')
    except metadata.PackageNotFoundError:
        return False
    return True


def told(error: ImportError) -> str:
    """Return one line on why an import failed, with the command that installs the package where it is known."""
    text = ' '.join(str(error).split())
    # Python names a module both if it is missing and if it is broken; MMEngine says "mmdet is not installed".
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    named = missing or next(iter(re.findall(r'^(\w+) is not installed', text)), '')
    if named == EXTENSION:
        return f'{text}: {NO_OPERATORS}'
    package = named.partition('.')[0]
    return f'{text}: {how_to_install(package)}' if package in (*EXTRAS, *HOSTS, 'torchvision') else text
