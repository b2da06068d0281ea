"""A small EfficientNet-Lite supernet on the demo data.

Command: ``python tools/train.py configs/demo/efficientnet-lite_supernet.py``, after
``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/supernet.py', '../_base_/demo/runtime.py']

space = dict(
    type='mmhybrid.EfficientNetLiteSpace',
    resolutions=[96],
    stem_widths=[16],
    widths=[[8], [12, 16], [16, 24], [32, 40], [40, 56], [64, 96], [96, 128]],
    depths=[[1], [1], [1, 2], [1, 2], [1, 2], [1, 2], [1]],
    expand_ratios=[[1], *[[2, 4]] * 6],
    head_widths=[256],
)
model = dict(
    architecture=dict(
        backbone=dict(type='mmhybrid.Supernet', space=space, backbone=dict(type='mmhybrid.EfficientNetLite')),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', in_channels=None),
    )
)
