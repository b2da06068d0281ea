"""Networks without weights, of which only names, shapes and operations are asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def on_meta() -> Iterator[None]:
    """Modules that are built meanwhile are on torch's meta device, and no time goes into their initial values."""
    with torch.device('meta'), _NoInitialValues():
        yield


class _NoInitialValues(TorchFunctionMode):
    """Layers are built without drawing initial values: on the meta device they would be thrown away."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, '__module__', None) == 'torch.nn.init':
            return kwargs['tensor']
        return func(*args, **kwargs)
