"""Classification with a small GLNet on the demo data.

Command: ``python tools/train.py configs/demo/glnet_cls.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/glnet.py', '../_base_/demo/cls.py', '../_base_/demo/runtime.py']

model = dict(
    backbone=_base_.backbone,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=_base_.cls_channels),
)
