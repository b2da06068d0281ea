"""UperNet with a small GLNet on CamVid, 600 iterations from scratch.

Command: ``python tools/train.py configs/glnet/upernet_glnet_small_camvid.py``; the backbone of
``glnet_small_imagenette.py`` can be given with ``--cfg-options load_from=CHECKPOINT``
Source: ours, a quick check on real photographs; see docs/results.md for what it reaches.
Published: none.
"""

_base_ = [
    '../_base_/models/glnet_small.py',
    'mmseg::_base_/models/upernet_r50.py',
    '../_base_/datasets/camvid_480x360.py',
    '../_base_/schedules/ade_adamw_160k.py',
    '../_base_/runtime/seg.py',
]

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmhybrid.GLNet',
        arch=_base_.glnet_small,
        out_indices=(0, 1, 2, 3),
        out_norm_cfg=dict(type='LN2d'),
        drop_path_rate=0.05,
    ),
    decode_head=dict(in_channels=[32, 64, 128, 256], channels=96, num_classes=11, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=128, channels=64, num_classes=11, norm_cfg=norm_cfg),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=50, end=600),
]
auto_scale_lr = dict(base_batch_size=4)
train_cfg = dict(max_iters=600, val_interval=200)
sync_bn = None  # trains on CPUs too, for which torch has no synchronised norms
default_hooks = dict(checkpoint=dict(interval=200))
