# RetinaNet on GLNet-4G.
# The paper gives no stochastic depth for dense prediction; that of the classifiers stands here, 0.3 for 9G.
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhybrid.GLNet',
        arch='4g',
        out_indices=(1, 2, 3),
        out_norm_cfg=dict(type='LN2d'),
        drop_path_rate=0.15,
    ),
    neck=dict(in_channels=[128, 256, 512], start_level=0),
)
