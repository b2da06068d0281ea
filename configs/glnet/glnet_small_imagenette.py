"""A GLNet small enough for a CPU on Imagenette, 20 epochs from scratch at 160 px.

Command: ``python tools/train.py configs/glnet/glnet_small_imagenette.py``
Source: ours, a quick check on real photographs; see docs/results.md for what it reaches.
Published: none.
"""

_base_ = [
    '../_base_/models/glnet_small.py',
    '../_base_/models/glnet_cls.py',
    '../_base_/datasets/imagenette_160.py',
    '../_base_/schedules/imagenette_adamw_20e.py',
    '../_base_/runtime/cls.py',
]

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, **_base_.glnet_small),
        drop_path_rate=0.05,
    ),
    head=dict(num_classes=10, in_channels=256),
    train_cfg=dict(_delete_=True, augments=dict(type='Mixup', alpha=0.2)),
)
