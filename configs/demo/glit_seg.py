"""UperNet with a small GLiT on the demo data.

Command: ``python tools/train.py configs/demo/glit_seg.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/glit.py', '../_base_/demo/seg.py', '../_base_/demo/runtime.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, **_base_.dense),
    neck=dict(type='mmhybrid.SimpleFeaturePyramid', in_channels=96, out_channels=96, num_outs=4),
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]),
)
