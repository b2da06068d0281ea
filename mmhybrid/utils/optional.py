"""Packages that only some tools need."""

from importlib import import_module
from types import ModuleType


def require(module: str, purpose: str) -> ModuleType:
    """Import an optional package.

    Raises:
        ValueError: Naming the package to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f'{purpose} needs the package {module}: pip install {module}') from error
