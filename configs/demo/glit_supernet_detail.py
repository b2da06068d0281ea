"""A small GLiT supernet over the sizes in each block on the demo data, the second stage of the hierarchical search.

Command: ``python tools/train.py configs/demo/glit_supernet_detail.py
--cfg-options model.architecture.backbone.space.distribution=FILE``, with the ``best_arch.json`` of
``configs/demo/glit_search.py`` as FILE
"""

_base_ = ['./glit_supernet.py']

model = dict(architecture=dict(backbone=dict(space=dict(level='detail', distribution=[0, 1, 1, 2]))))
