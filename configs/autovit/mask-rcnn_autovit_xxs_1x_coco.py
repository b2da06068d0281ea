"""Mask R-CNN 1x with AutoViT-XXS on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/autovit/mask-rcnn_autovit_xxs_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: the recipe of AutoViT-S; the paper has no result of this size.
Published: none.
"""

_base_ = ['./mask-rcnn_autovit_s_1x_coco.py']

model = dict(backbone=dict(arch='xxs'), neck=dict(in_channels=[32, 32, 48, 80]))
