"""Mask R-CNN 1x with GLNet-4G on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glnet/mask-rcnn_glnet_4g_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 4.
Published: 48.3 box AP, 43.6 mask AP, 46.6 M parameters, 233 G FLOPs (attention layers and slot products not counted).
"""

_base_ = [
    '../_base_/models/mask-rcnn_glnet.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/runtime/det.py',
]
