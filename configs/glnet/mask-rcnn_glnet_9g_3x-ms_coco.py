"""Mask R-CNN 3x with multi-scale training and GLNet-9G on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glnet/mask-rcnn_glnet_9g_3x-ms_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 4 and section 4.2, as for the 4G.
Published: 51.0 box AP, 46.2 mask AP, 79.5 M parameters, 311 G FLOPs (attention layers and slot products not counted).
"""

_base_ = ['./mask-rcnn_glnet_4g_3x-ms_coco.py']

model = dict(backbone=dict(arch='9g', drop_path_rate=0.3), neck=dict(in_channels=[96, 192, 384, 768]))
