"""Data sets, and the transforms of label maps. Importing this package registers them."""

from mmhybrid.datasets import label_map_transforms

__all__ = ['label_map_transforms']
