"""Functions that build models from configs, with random weights, or without values if only names and shapes matter."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmhybrid.models.classifier import own_generator
from mmhybrid.registry import MODELS

_FILLING = {Tensor.zero_, Tensor.fill_, Tensor.uniform_, Tensor.normal_}


def build_model(cfg: Config) -> Any:
    """Build the model of a whole config as MMEngine's runner does, with random weights.

    Components are looked up in the ``default_scope`` of the config; the default scope of the process does not change.

    Raises:
        ValueError: If the config has no model.
    """
    if 'model' not in cfg:
        raise ValueError(f'config {cfg.filename} has no model')
    model_cfg = deepcopy(dict(cfg.model))  # copied, since OpenMMLab changes the configs that it gets
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', deepcopy(cfg.data_preprocessor))
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        return MODELS.build(model_cfg)


def build_on_meta(config: Mapping[str, Any]) -> Any:
    """Build a model, or a part of one such as a backbone, on torch's meta device (see :func:`on_meta`)."""
    with on_meta():
        return MODELS.build(deepcopy(dict(config)))


def build_unfilled(config: Mapping[str, Any]) -> Any:
    """Build a model, or a part of one, without initialising its layers and without changing the random state."""
    with own_generator(), _NoInitialValues():
        return MODELS.build(deepcopy(dict(config)))


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules within the context on torch's meta device, without initialising them."""
    with torch.device('meta'), _NoInitialValues():
        yield


class _NoInitialValues(TorchFunctionMode):
    """A mode in which layers are built without initial values, which would cost time and are not needed.

    ``torch.linspace`` still returns values, since MMPretrain's backbones read stochastic depth rates from it.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, '__module__', None) == 'torch.nn.init':
            return kwargs['tensor']
        if func is torch.linspace:
            kwargs = {'device': 'cpu', **kwargs}
        if func in _FILLING and args[0].is_meta:
            return args[0]
        return func(*args, **kwargs)
