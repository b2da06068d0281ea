"""The number of channels of a model's images."""

from torch import nn


def input_channels(model: nn.Module) -> int:
    """Return the channels of a model's or backbone's images, which are those of the backbone's first convolution.

    Raises:
        ValueError: If there is no two-dimensional convolution.
    """
    architecture = getattr(model, 'architecture', model)  # a one-shot model wraps another model
    backbone = getattr(architecture, 'backbone', architecture)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ValueError(f'{type(model).__name__} has no convolution that tells how many channels its images have')
