"""Code that runs while another package is imported, so that ``import mmhybrid`` need not import that package."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Execute = Callable[[ModuleType], None]


def around_import(name: str, execute: Callable[[ModuleType, Execute], None]) -> None:
    """Have ``execute`` called with the module of this name and what executes it, when it is imported.

    Again for the same name is harmless. A module that is imported already is left alone.
    """
    if not any(isinstance(finder, _AroundImport) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _AroundImport(name, execute))


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
