"""Compilation of backbones in a training."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.torch_api import require_torch, why_not_compiled
from mmhybrid.utils.checks import bad_value

OLDEST = (2, 6)  # older versions split a network into several graphs
_ALLOWED = 'true, false, or a dict of the arguments of torch.compile'


def compile_backbones(model: nn.Module, settings: bool | Mapping[str, Any]) -> bool:
    """Compile the backbones of a model in place, each into one graph; their parameters keep their names.

    MMEngine compiles a whole training step with the preprocessor, the losses and the optimizer, which torch cannot
    bring into one graph. The backbone takes most of the time. Heads and losses run uncompiled.

    Args:
        model: Model of a training, on its device; it may be within a wrapper for several ranks.
        settings: ``compile`` of the config: true, or arguments of torch.compile. Without ``dynamic``, torch compiles
            once more, for any size, when the batch or image size changes for the first time. Validation has a graph of
            its own.

    Returns:
        Whether the model has a backbone of this package.

    Raises:
        ValueError: If the settings are wrong, the model holds a supernet, or this machine cannot compile.
    """
    # imported late, since a training without compilation does not need it
    from mmhybrid.models.supernets.supernet import Supernet

    if isinstance(settings, Mapping):
        arguments = dict(settings)
    elif settings is True:
        arguments = {}
    else:
        raise bad_value('compile', settings, _ALLOWED)
    backbones = [module for module in model.modules() if isinstance(module, HybridBackbone)]
    if any(isinstance(module, Supernet) for module in model.modules()):
        raise bad_value('compile', settings, 'false for a supernet, which is another network in each step')
    if not backbones:
        return False
    require_torch(OLDEST, 'compile')
    device = next(backbones[0].parameters()).device.type
    reason = why_not_compiled(device) if arguments.get('backend', 'inductor') == 'inductor' else None
    if reason is not None:
        raise bad_value('compile', settings, f'false on this machine, which has {reason}')
    for backbone in backbones:
        try:
            backbone.compile(**{'fullgraph': True, **arguments})
        except (RuntimeError, TypeError, ValueError) as error:
            raise bad_value('compile', settings, f'{_ALLOWED}: {error}') from error
    return True
