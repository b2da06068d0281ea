"""Supernet of a small GLiT over the sizes in each block on Imagenette, the second stage of the hierarchical search.

Command: ``python tools/train.py configs/glit/supernet_glit_detail_imagenette.py
--cfg-options model.architecture.backbone.space.distribution=FILE``, FILE being what the first stage found
Source: ours, a quick check on real photographs; see docs/results.md for what it reaches.
Published: none.
Without FILE the heads are those that our first stage found.
"""

_base_ = ['./supernet_glit_distribution_imagenette.py']

model = dict(architecture=dict(backbone=dict(space=dict(level='detail', distribution=[1, 3, 0, 2]))))
