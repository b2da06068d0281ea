"""How many channels the images of a model have."""

from torch import nn


def input_channels(model: nn.Module) -> int:
    """Channels of the images that a model, or a backbone, takes: those of the first convolution of its backbone.

    Raises:
        ValueError: If there is no convolution of maps.
    """
    architecture = getattr(model, 'architecture', model)  # of a one-shot model
    backbone = getattr(architecture, 'backbone', architecture)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ValueError(f'{type(model).__name__} has no convolution that tells how many channels its images have')
