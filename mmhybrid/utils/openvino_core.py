"""OpenVINO's core, one for a process."""

from functools import cache
from typing import Any

from mmhybrid.utils.optional import require


def openvino_core(purpose: str) -> Any:
    """The process's core of OpenVINO, which stays until the process ends.

    OpenVINO's plugin for CPUs gives the thread that loads it a stack for signals, and unmaps that with the last of its
    owners, whichever thread lets go of it: the next signal, of a child that ends or of Ctrl-C, then ended the process.

    Args:
        purpose: What needs it, for the message where it is not installed.

    Raises:
        ValueError: If OpenVINO is not installed.
    """
    require('openvino', purpose)
    return _core()


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()
