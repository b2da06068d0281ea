"""Models from configs, with random weights or, where only names, shapes and operations are asked, with none at all."""

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
    """The model of a whole config, weights at random, as MMEngine's runner builds it.

    Components are looked up in the ``default_scope`` of the config; that of the process stays what it is.

    Raises:
        ValueError: If the config has no model.
    """
    if 'model' not in cfg:
        raise ValueError(f'config {cfg.filename} has no model')
    model_cfg = deepcopy(dict(cfg.model))  # hosts write into what they are given
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', deepcopy(cfg.data_preprocessor))
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        return MODELS.build(model_cfg)


def build_on_meta(config: Mapping[str, Any]) -> Any:
    """A model or a part of one, a backbone say, from its config, on torch's meta device; see :func:`on_meta`."""
    with on_meta():
        return MODELS.build(deepcopy(dict(config)))


def build_unfilled(config: Mapping[str, Any]) -> Any:
    """Return a model or a part of one whose layers have no initial values and take no random numbers."""
    with own_generator(), _NoInitialValues():
        return MODELS.build(deepcopy(dict(config)))


@contextmanager
def on_meta() -> Iterator[None]:
    """Modules that are built meanwhile are on torch's meta device, and no time goes into their initial values."""
    with torch.device('meta'), _NoInitialValues():
        yield


class _NoInitialValues(TorchFunctionMode):
    """Layers are built without initial values: on the meta device they would be thrown away.

    Numbers that a constructor reads back have values: MMPretrain's backbones take rates of stochastic depth out of
    ``torch.linspace``.
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
