"""The operators and layers that the backbones are built from."""
