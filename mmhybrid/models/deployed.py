"""The deployed form of whole models."""

from torch import nn

from mmhybrid.models.backbones.base import HybridBackbone


def switch_to_deploy(model: nn.Module) -> None:
    """Call :meth:`HybridBackbone.switch_to_deploy` of every mmhybrid backbone in a model, and set it to eval mode.

    Other parts of the model do not change.

    Raises:
        ValueError: If the model has no such backbone, or has a supernet, whose networks share what would be folded.
    """
    if not all(getattr(module, 'has_deployed_form', True) for module in model.modules()):
        raise ValueError(
            f'{type(model).__name__} has a supernet, which has no deployed form; export one of its networks first, '
            'with tools/export_subnet.py'
        )
    backbones = [module for module in model.modules() if isinstance(module, HybridBackbone)]
    if not backbones:
        raise ValueError(f'{type(model).__name__} has no backbone of mmhybrid that could be put into its deployed form')
    model.eval()
    for backbone in backbones:
        backbone.switch_to_deploy()
