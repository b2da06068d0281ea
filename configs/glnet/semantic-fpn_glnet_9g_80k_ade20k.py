"""Semantic FPN with GLNet-9G on ADE20K, 80k iterations, batch 32.

Command: ``bash tools/dist_train.sh configs/glnet/semantic-fpn_glnet_9g_80k_ade20k.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 5.
Published: 51.3 mIoU, 63.6 M parameters, 230 G FLOPs (attention layers and slot products not counted).
"""

_base_ = ['./semantic-fpn_glnet_4g_80k_ade20k.py']

model = dict(backbone=dict(arch='9g', drop_path_rate=0.3), neck=dict(in_channels=[96, 192, 384, 768]))
