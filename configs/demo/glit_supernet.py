"""A small GLiT supernet on the demo data. Single path: every candidate of a block has weights of its own, as published.

Command: ``python tools/train.py configs/demo/glit_supernet.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/supernet.py', '../_base_/demo/runtime.py']

space = dict(
    type='mmhybrid.GLiTSpace',
    embed_dims=96,
    num_heads=3,
    num_blocks=4,
    level='distribution',
    restrict={'blocks.*.num_attn_heads': [0, 1, 2]},
)
model = dict(
    architecture=dict(
        backbone=dict(
            type='mmhybrid.Supernet',
            space=space,
            backbone=dict(type='mmhybrid.GLiT', img_size=96, patch_size=16),
            separate=['blocks'],
        ),
        head=dict(type='VisionTransformerClsHead', in_channels=None),
    )
)
