"""A small AutoViT supernet on the demo data.

Command: ``python tools/train.py configs/demo/autovit_supernet.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/supernet.py', '../_base_/demo/runtime.py']

space = dict(
    type='mmhybrid.AutoViTSpace',
    table=dict(
        stem_widths=[16, 24],
        conv_widths=[[16, 24], [24, 32], [32, 48]],
        conv_depths=[[1], [1, 2], [1, 2]],
        widths=[[48, 64], [64, 80], [80, 96]],
        num_stages=[3],
        num_heads=[2, 3, 4],
        depths=[1, 2, 3],
        resolutions=[96],
    ),
)
model = dict(
    architecture=dict(
        backbone=dict(type='mmhybrid.Supernet', space=space, backbone=dict(type='mmhybrid.AutoViT')),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', in_channels=None),
    )
)
