"""Supernet of AutoViT-XXS on Imagenette, 6 epochs at 128 and 160 px.

Command: ``python tools/train.py configs/autovit/supernet_autovit_xxs_imagenette.py``, after
``python tools/split_imagenet.py data/imagenette/train data/imagenette/meta --num-held-out 500``
Source: ours, a quick check on real photographs; see docs/results.md for what it reaches.
Published: none.
"""

_base_ = [
    '../_base_/models/autovit_supernet.py',
    '../_base_/datasets/imagenette_search_160.py',
    '../_base_/schedules/imagenette_adamw_20e.py',
    '../_base_/runtime/cls.py',
]

space = dict(
    type='mmhybrid.AutoViTSpace',
    table=dict(
        stem_widths=[16, 24],
        conv_widths=[[16, 24], [24, 32], [32, 48]],
        conv_depths=[[1, 2], [2, 3], [2, 3]],
        widths=[[48, 64], [64, 80], [80, 96], [96, 112]],
        num_stages=[3, 4],
        num_heads=[2, 3, 4],
        depths=[2, 3],
        resolutions=[128, 160],
    ),
)
model = dict(
    architecture=dict(
        backbone=dict(space=space, backbone=dict(drop_path_rate=0.0)), head=dict(num_classes=10), train_cfg=None
    )
)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=6, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=6, val_interval=3)
val_cfg = dict(type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
