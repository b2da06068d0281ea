"""Data sets and transforms of label maps, which importing this package registers."""

from mmhybrid.datasets import label_map_transforms

__all__ = ['label_map_transforms']
