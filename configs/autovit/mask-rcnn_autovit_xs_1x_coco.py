"""Mask R-CNN 1x with AutoViT-XS on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/autovit/mask-rcnn_autovit_xs_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: the recipe of AutoViT-S; the paper has no result of this size.
Published: none.
"""

_base_ = ['./mask-rcnn_autovit_s_1x_coco.py']

model = dict(backbone=dict(arch='xs'), neck=dict(in_channels=[48, 64, 80, 112]))
