"""OpenVINO's core, of which each process has one."""

from functools import cache
from typing import Any

from mmhybrid.utils.optional import require


def openvino_core(purpose: str) -> Any:
    """Return the process's core of OpenVINO, which stays until the process ends.

    OpenVINO's plugin for CPUs gives the thread that loads it a stack for signals, and unmaps the stack when its last
    owner is gone, in whichever thread that happens. The next signal, for instance of a child that ends or of Ctrl-C,
    would then end the process.

    Args:
        purpose: Task that needs OpenVINO, for the message if it is not installed.

    Raises:
        ValueError: If OpenVINO is not installed.
    """
    require('openvino', purpose)
    return _core()


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()
