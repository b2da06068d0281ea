"""The layers from which the backbones are built."""
