"""Mask R-CNN 1x with GLNet-4G on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glnet/mask-rcnn_glnet_4g_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 4.
Published: 48.3 box AP, 43.6 mask AP, 46.6 M parameters, 233 G FLOPs (attention layers and slot products not counted).
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/runtime/det.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhybrid.GLNet',
        arch='4g',
        out_indices=(0, 1, 2, 3),
        out_norm_cfg=dict(type='LN2d'),
        drop_path_rate=0.15,
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
