# RetinaNet on GLNet-4G.
# What the paper leaves open is as in the same author's code for BiFormer: stochastic depth of 0.2, of 0.3 for the
# larger network, and fixed batch statistics, since 2 images a GPU give poor ones; affine parameters train.
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhybrid.GLNet',
        arch='4g',
        out_indices=(1, 2, 3),
        out_norm_cfg=dict(type='LN2d'),
        drop_path_rate=0.2,
        norm_eval=True,
    ),
    neck=dict(in_channels=[128, 256, 512], start_level=0),
)
