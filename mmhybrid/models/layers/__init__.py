"""The layers that the backbones are built from."""
