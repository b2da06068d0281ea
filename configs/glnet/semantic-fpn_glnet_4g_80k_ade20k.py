"""Semantic FPN with GLNet-4G on ADE20K, 80k iterations, batch 32.

Command: ``bash tools/dist_train.sh configs/glnet/semantic-fpn_glnet_4g_80k_ade20k.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 5.
Published: 49.6 mIoU, 30.7 M parameters, 150 G FLOPs (attention layers and slot products not counted).
Not in the paper, and as in the same author's code for BiFormer: stochastic depth, 0.3 for 9G; where the warm-up begins;
synchronised batch statistics; test images resized to multiples of 32. It trains in mixed precision: add ``--amp``.
"""

_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    '../_base_/schedules/ade_adamw_80k.py',
    '../_base_/runtime/seg.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmhybrid.GLNet',
        arch='4g',
        out_indices=(0, 1, 2, 3),
        out_norm_cfg=dict(type='LN2d'),
        drop_path_rate=0.15,
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
    decode_head=dict(num_classes=150),
)
train_dataloader = dict(batch_size=4)
test_pipeline = [*_base_.test_pipeline[:2], dict(type='ResizeToMultiple', size_divisor=32), *_base_.test_pipeline[2:]]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(interval=8000, save_best='mIoU'))
