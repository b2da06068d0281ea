"""Mask R-CNN 1x with GLNet-4G on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glnet/mask-rcnn_glnet_4g_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 4.
Published: 48.3 box AP, 43.6 mask AP, 46.6 M parameters, 233 G FLOPs (attention layers and slot products not counted).
The paper leaves stochastic depth and the backbone's batch norms open: 0.2 for 4G, 0.3 for 9G and fixed statistics are
those of the same author's code for BiFormer, which trains in mixed precision: add ``--amp``.
"""

_base_ = [
    '../_base_/models/mask-rcnn_glnet.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/runtime/det.py',
]
