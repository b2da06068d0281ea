"""How much work a function does, in lines of Python and elements of arrays: seconds tell how busy the machine is."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest


def lines_run(function: Callable[[], object], *packages: ModuleType) -> int:
    """How many lines a function runs of modules and packages, each turn of a loop counted."""
    places = tuple(str(Path(p.__file__).parent if p.__file__.endswith('__init__.py') else p.__file__) for p in packages)
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        nonlocal count
        if not frame.f_code.co_filename.startswith(places):
            return None
        count += event == 'line'
        return trace

    before = sys.gettrace()  # of a measurement of coverage
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


class Counted(np.ndarray):
    """An array that counts the elements which functions of NumPy look at, it and what they make of it."""

    elements = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """See NumPy."""
        plain = [np.asarray(value) for value in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        Counted.elements += max(result.size, *(value.size for value in plain))
        return result.view(Counted) if isinstance(result, np.ndarray) else result


def work_of(function: Callable[[], object], module: ModuleType) -> int:
    """How many lines a function runs of a module, and at how many elements of arrays that it makes it looks there."""
    Counted.elements = 0
    watched = SimpleNamespace(**{**vars(np), 'asarray': lambda *args, **kw: np.asarray(*args, **kw).view(Counted)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'np', watched)
        lines = lines_run(function, module)
    return lines + Counted.elements
