"""UperNet with GLiT-Tiny on ADE20K, 160k iterations.

Command: ``bash tools/dist_train.sh configs/glit/upernet_glit_tiny_160k_ade20k.py 8
--cfg-options load_from=CHECKPOINT``
Source: no published result; ViTDet's simple feature pyramid, BEiT's layer decay.
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
        type='mmhybrid.GLiT',
        arch='tiny',
        out_type='featmap',
        out_norm_cfg=dict(type='LN2d'),
        drop_path_rate=0.1,
    ),
    neck=dict(type='mmhybrid.SimpleFeaturePyramid', in_channels=192, out_channels=192, num_outs=4),
    decode_head=dict(in_channels=[192, 192, 192, 192], num_classes=150),
    auxiliary_head=dict(in_channels=192, num_classes=150),
)
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(constructor='mmhybrid.LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.9))
