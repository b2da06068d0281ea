"""UperNet with GLNet-4G on ADE20K, 160k iterations.

Command: ``bash tools/dist_train.sh configs/glnet/upernet_glnet_4g_160k_ade20k.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 5.
Published: 50.6 mIoU, 56.8 M parameters, 907 G FLOPs (counted without attention layers and slot products).
Batch 32 and weight decay 1e-2 as published. The published rate "6e-4" is ten times that of the same author's earlier
code for BiFormer (6e-5 at batch 16); the published value stands here. Not in the paper, and as in that code: stochastic
depth, 0.4 for 9G, and synchronised batch statistics. It trains in mixed precision: add ``--amp``.
"""

_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    '../_base_/schedules/ade_adamw_160k.py',
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
        drop_path_rate=0.3,
    ),
    decode_head=dict(in_channels=[64, 128, 256, 512], num_classes=150),
    auxiliary_head=dict(in_channels=256, num_classes=150),
)
optim_wrapper = dict(optimizer=dict(lr=6e-4))
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
