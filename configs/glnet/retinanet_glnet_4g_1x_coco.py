"""RetinaNet 1x with GLNet-4G on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glnet/retinanet_glnet_4g_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 4.
Published: 47.1 box AP, 37 M parameters, 214 G FLOPs (attention layers and slot products not counted).
"""

_base_ = [
    '../_base_/models/retinanet_glnet.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/runtime/det.py',
]

optim_wrapper = dict(optimizer=dict(weight_decay=0.001))
