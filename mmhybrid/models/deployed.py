"""The deployed form of whole models."""

from torch import nn

from mmhybrid.models.backbones.base import HybridBackbone


def switch_to_deploy(model: nn.Module) -> None:
    """Call :meth:`HybridBackbone.switch_to_deploy` of every mmhybrid backbone in a model, and set it to eval mode.

    Other parts of the model do not change. The model must have no supernet; export a subnet of it first.

    Raises:
        ValueError: If the model has no such backbone.
    """
    backbones = [module for module in model.modules() if isinstance(module, HybridBackbone)]
    if not backbones:
        raise ValueError(f'{type(model).__name__} has no backbone of mmhybrid that could be put into its deployed form')
    model.eval()
    for backbone in backbones:
        backbone.switch_to_deploy()
