"""Whole models in the form in which they are deployed."""

from torch import nn

from mmhybrid.models.backbones.base import HybridBackbone


def switch_to_deploy(model: nn.Module) -> None:
    """Put every backbone of ours within a model into the form of :meth:`HybridBackbone.switch_to_deploy`.

    The model goes into eval mode; what is not ours in it stays as it is.

    Raises:
        ValueError: If there is none: another backbone, or a supernet, out of which a subnet is exported first.
    """
    backbones = [module for module in model.modules() if isinstance(module, HybridBackbone)]
    if not backbones:
        raise ValueError(f'{type(model).__name__} has no backbone of mmhybrid that could be put into its deployed form')
    model.eval()
    for backbone in backbones:
        backbone.switch_to_deploy()
