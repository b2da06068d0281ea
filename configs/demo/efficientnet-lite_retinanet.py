"""RetinaNet with a small EfficientNet-Lite on the demo data.

Command: ``python tools/train.py configs/demo/efficientnet-lite_retinanet.py``, after
``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/efficientnet-lite.py', '../_base_/demo/retinanet.py', '../_base_/demo/runtime.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, **_base_.dense),
    neck=dict(in_channels=_base_.channels),
)
