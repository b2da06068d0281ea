"""Loading of checkpoints that have to fit a model exactly."""

from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from mmhybrid.models.checkpoints import weights_of
from mmhybrid.utils.checks import check_int, check_keys
from mmhybrid.utils.errors import few


def check_resumable(model: nn.Module, checkpoint: dict[str, Any], path: str) -> None:
    """Raise ValueError unless ``checkpoint`` holds the state of a training of ``model``; load its weights."""
    missing = [name for name in ('meta', 'message_hub', 'optimizer') if name not in checkpoint]
    if missing:
        raise ValueError(f'training cannot resume from {path}: it lacks {", ".join(missing)}')
    if not isinstance(checkpoint['meta'], Mapping) or 'config' in checkpoint['meta']:
        # MMEngine's Runner.resume writes ``meta['config']`` to a file and runs it; its own checkpoints have ``cfg``
        raise ValueError(f'training cannot resume from {path}: its meta has a config, which MMEngine would run')
    check_keys(f'{path}: meta', checkpoint['meta'], ('epoch', 'iter'), checkpoint['meta'])
    for name in ('epoch', 'iter'):
        check_int(f'{path}: meta.{name}', checkpoint['meta'][name], 0)
    load_weights(model, checkpoint, path)


def load_weights(model: nn.Module, checkpoint: dict[str, Any], path: str) -> None:
    """Load the weights; raise ValueError unless their names and shapes are exactly those of ``model``.

    MMEngine itself only logs a difference.
    """
    target: Any = model.module if is_model_wrapper(model) else model
    if isinstance(target, BaseTTAModel):
        target = target.module
    try:
        keys = target.load_state_dict(weights_of(checkpoint), strict=False)
    except RuntimeError as error:
        mismatches = [line.strip().rstrip('.') for line in str(error).splitlines()[1:]]
        raise ValueError(f'{path} does not fit the model: {few(mismatches, 1)}') from error
    problems = [
        f'{kind} {few(names)}'
        for kind, names in (('missing', keys.missing_keys), ('surplus', keys.unexpected_keys))
        if names
    ]
    if problems:
        raise ValueError(f'{path} does not fit the model: {"; ".join(problems)}')
