"""RetinaNet 1x with GLNet-4G on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glnet/retinanet_glnet_4g_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 4.
Published: 47.1 box AP, 37 M parameters, 214 G FLOPs (counted without attention layers and slot products).
"""

_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/runtime/det.py',
]

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
optim_wrapper = dict(optimizer=dict(weight_decay=0.001))
