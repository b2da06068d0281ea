"""RetinaNet with a small GLiT on the demo data.

Command: ``python tools/train.py configs/demo/glit_retinanet.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/glit.py', '../_base_/demo/retinanet.py', '../_base_/demo/runtime.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, **_base_.dense),
    neck=dict(
        _delete_=True,
        type='mmhybrid.SimpleFeaturePyramid',
        in_channels=96,
        out_channels=64,
        num_outs=5,
        start_level=1,  # strides 8 to 128, those of the anchors
    ),
)
