"""Operators of MMCV that only its compiled package has, and the advice how to install it."""

from collections.abc import Callable
from typing import NoReturn

from mmhybrid.utils.optional import is_of_onedl

# advises the compiled package of the same distribution as the installed MMCV, since both distributions have the module
COMPILED = 'Install MMCV with its compiled operators and torch 2.13 or older: ' + (
    '`pip install --no-build-isolation onedl-mmcv`'
    if is_of_onedl('mmcv')
    else '`MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.1.0`, or `make ops` in a clone of mmhybrid'
)


def unavailable(name: str) -> Callable[..., NoReturn]:
    """Return a function in place of an operator that raises NotImplementedError with the operator's name."""
    if name.startswith('_'):
        raise AttributeError(name)

    def raise_by_name(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f"MMCV's operator {name} is available only in compiled form. {COMPILED}.")

    return raise_by_name
