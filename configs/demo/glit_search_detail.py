"""Evolutionary search over the small GLiT supernet for the sizes in each block, the second stage of its search.

Command: ``python tools/search.py configs/demo/glit_search_detail.py --checkpoint CHECKPOINT
--cfg-options model.architecture.backbone.space.distribution=FILE``, with the checkpoint and the FILE of
``configs/demo/glit_supernet_detail.py``
"""

_base_ = ['./glit_supernet.py', '../_base_/demo/evolution.py']

model = dict(architecture=dict(backbone=dict(space=dict(level='detail', distribution=[0, 1, 1, 2]))))
search_cfg = dict(calibration=_base_.calibration)
