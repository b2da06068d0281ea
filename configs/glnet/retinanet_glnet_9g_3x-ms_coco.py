"""RetinaNet 3x with multi-scale training and GLNet-9G on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glnet/retinanet_glnet_9g_3x-ms_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 4 and section 4.2, as for the 4G.
Published: 48.8 box AP, 70 M parameters, 292 G FLOPs (attention layers and slot products not counted).
"""

_base_ = ['./retinanet_glnet_4g_3x-ms_coco.py']

model = dict(backbone=dict(arch='9g', drop_path_rate=0.3), neck=dict(in_channels=[192, 384, 768]))
