"""RetinaNet 3x with multi-scale training and GLNet-4G on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glnet/retinanet_glnet_4g_3x-ms_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 4 and section 4.2: MMDetection's 3x schedule, here with the scales of its multi-scale training.
Published: 47.9 box AP, 37 M parameters, 214 G FLOPs (attention layers and slot products not counted).
"""

_base_ = [
    '../_base_/models/retinanet_glnet.py',
    '../_base_/datasets/coco_detection_ms.py',
    '../_base_/schedules/coco_adamw_3x.py',
    '../_base_/runtime/det.py',
]

optim_wrapper = dict(optimizer=dict(weight_decay=0.001))
