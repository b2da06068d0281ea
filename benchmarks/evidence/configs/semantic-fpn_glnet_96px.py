"""Semantic FPN with GLNet-STL in miniature on CamVid at 128 x 96 px.

Command: ``python benchmarks/evidence/run.py semantic-fpn``
Source: ours, for a row of GLNet's Table 5.
Published: none.
The backbone is that of ``glnet_64px.py``, and begins with its weights.
"""

_base_ = ['./_base_/camvid_96.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhybrid.GLNet',
        arch=dict(
            embed_dims=[32, 64, 96, 128],
            depths=[1, 1, 2, 1],
            ffn_ratios=[4, 4, 4, 4],
            mixers=['glmix', 'glmix', 'glmix', 'mhsa'],
            num_slots=[64, 64, 16, 64],
        ),
        out_indices=(0, 1, 2, 3),
        out_norm_cfg=dict(type='LN2d'),
        drop_path_rate=0.05,
    ),
    neck=dict(in_channels=[32, 64, 96, 128]),
)
