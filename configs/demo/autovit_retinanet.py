"""RetinaNet with a small AutoViT on the demo data.

Command: ``python tools/train.py configs/demo/autovit_retinanet.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/autovit.py', '../_base_/demo/retinanet.py', '../_base_/demo/runtime.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, **_base_.dense),
    neck=dict(in_channels=_base_.channels),
)
