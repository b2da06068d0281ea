"""A small GLNet supernet on the demo data.

Command: ``python tools/train.py configs/demo/glnet_supernet.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/supernet.py', '../_base_/demo/runtime.py']

space = dict(
    type='mmhybrid.GLNetSpace',
    widths=[[32], [32, 64], [64, 96], [96, 128]],
    depths=[[1], [1], [1, 2, 3], [1, 2]],
    num_slots=[9, 16, 25],
    overlapped_patches=[True],
    pos_encoding=[True],
    conv_ffn=[False, True],
)
model = dict(
    architecture=dict(
        backbone=dict(type='mmhybrid.Supernet', space=space, backbone=dict(type='mmhybrid.GLNet')),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', in_channels=None),
    )
)
