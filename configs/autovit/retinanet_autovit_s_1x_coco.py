"""RetinaNet 1x with AutoViT-S on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/autovit/retinanet_autovit_s_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: no published result.
Published: none.
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
        type='mmhybrid.AutoViT',
        arch='s',
        out_indices=(0, 1, 2, 3),
        mbpool=False,
        drop_path_rate=0.1,
        norm_eval=True,  # 2 images a GPU give poor statistics
    ),
    neck=dict(in_channels=[48, 96, 128, 192]),
)
