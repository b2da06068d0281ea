"""Classification with a small GLiT on the demo data.

Command: ``python tools/train.py configs/demo/glit_cls.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/glit.py', '../_base_/demo/cls.py', '../_base_/demo/runtime.py']

model = dict(
    backbone=_base_.backbone,
    head=dict(type='VisionTransformerClsHead', in_channels=_base_.cls_channels),
)
