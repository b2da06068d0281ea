"""RetinaNet with GLNet-STL in miniature on generated scenes of 128 px.

Command: ``python benchmarks/evidence/run.py retinanet``
Source: ours, for a row of GLNet's Table 4.
Published: none.
The backbone is that of ``glnet_64px.py``, and begins with its weights.
"""

_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', './_base_/scenes_128.py']

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
    neck=dict(in_channels=[32, 64, 96, 128], out_channels=64),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        num_classes=len(_base_.classes),
        anchor_generator=dict(octave_base_scale=3),
    ),
)
test_evaluator = dict(metric='bbox')
