"""A supernet around a small ConvNeXt of MMPretrain on the demo data.

Command: ``python tools/train.py configs/demo/convnext_supernet.py``, after
``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/supernet.py', '../_base_/demo/runtime.py']

space = dict(
    type='mmhybrid.ElasticSpace',
    around=dict(depths=[1, 2, 3, 1], kernel_sizes=[7, 7, 7, 7], hidden_widths=[96, 192, 320, 512]),
)
network = dict(depths=[1, 2, 3, 1], channels=[24, 48, 80, 128])
model = dict(
    architecture=dict(
        backbone=dict(
            type='mmhybrid.Supernet',
            space=space,
            # from scratch on few images, where layer scales of 1e-6 have no time to grow
            backbone=dict(type='mmhybrid.ElasticConvNeXt', network=network, layer_scale_init_value=0.1),
        ),
        neck=None,  # the backbone returns means
        head=dict(type='LinearClsHead', in_channels=None),
    )
)
