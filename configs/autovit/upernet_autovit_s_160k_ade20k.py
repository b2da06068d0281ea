"""UperNet with AutoViT-S on ADE20K, 160k iterations.

Command: ``bash tools/dist_train.sh configs/autovit/upernet_autovit_s_160k_ade20k.py 8
--cfg-options load_from=CHECKPOINT``
Source: no published result.
Published: none.
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
        type='mmhybrid.AutoViT',
        arch='s',
        out_indices=(0, 1, 2, 3),
        mbpool=False,
        drop_path_rate=0.1,
    ),
    decode_head=dict(in_channels=[48, 96, 128, 192], num_classes=150),
    auxiliary_head=dict(in_channels=128, num_classes=150),
)
train_dataloader = dict(batch_size=2)
