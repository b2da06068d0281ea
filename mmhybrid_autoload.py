"""Lets programs that know nothing of mmhybrid find its stand-in for MMCV's operators.

MMDetection's `tools/test.py` and its inferencers import ``mmcv.ops`` before a config could name mmhybrid in
``custom_imports``, and so do processes that a data loader spawns. Torch calls :func:`find_operators` at the end of its
own import (entry points ``torch.backends``, since torch 2.5). This module is outside the package, whose import would
take a second: nothing of mmhybrid is imported unless ``mmcv._ext`` is, and nothing else provides it.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def find_operators() -> None:
    """Have mmhybrid asked for ``mmcv._ext`` where all other finders have failed."""
    sys.meta_path.append(_Finder())


class _Finder(MetaPathFinder):
    """Asks mmhybrid's finder, and imports mmhybrid for it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of the stand-in; None for any other module."""
        if fullname != 'mmcv._ext':
            return None
        from mmhybrid import mmcv_ops

        return mmcv_ops.find(fullname)
