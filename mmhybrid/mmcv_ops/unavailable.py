"""Operators of MMCV that exist compiled only, and how one gets them."""

from collections.abc import Callable
from typing import NoReturn

from mmhybrid.utils.optional import is_of_onedl

# of the same line of distributions as this MMCV, since both have the module
COMPILED = 'Install MMCV with its compiled operators, beside torch 2.13 or older: ' + (
    '`pip install --no-build-isolation onedl-mmcv`'
    if is_of_onedl('mmcv')
    else '`MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.1.0`, or `make ops` in a clone of mmhybrid'
)


def unavailable(name: str) -> Callable[..., NoReturn]:
    """What stands in the place of an operator: a function that raises NotImplementedError with its name."""
    if name.startswith('_'):
        raise AttributeError(name)

    def raise_by_name(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f"MMCV's operator {name} exists compiled only, and this MMCV is not. {COMPILED}.")

    return raise_by_name
