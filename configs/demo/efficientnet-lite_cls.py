"""Classification with a small EfficientNet-Lite on the demo data.

Command: ``python tools/train.py configs/demo/efficientnet-lite_cls.py``, after
``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/efficientnet-lite.py', '../_base_/demo/cls.py', '../_base_/demo/runtime.py']

model = dict(
    backbone=_base_.backbone,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=_base_.cls_channels),
)
