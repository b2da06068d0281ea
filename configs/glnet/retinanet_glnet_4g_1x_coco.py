"""RetinaNet 1x with GLNet-4G on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glnet/retinanet_glnet_4g_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 4.
Published: 47.1 box AP, 37 M parameters, 214 G FLOPs (attention layers and slot products not counted).
The paper leaves stochastic depth and the backbone's batch norms open: 0.2 for 4G, 0.3 for 9G and fixed statistics are
those of the same author's code for BiFormer, which trains in mixed precision: add ``--amp``.
"""

_base_ = [
    '../_base_/models/retinanet_glnet.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/runtime/det.py',
]

optim_wrapper = dict(optimizer=dict(weight_decay=0.001))
