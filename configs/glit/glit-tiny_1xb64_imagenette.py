"""GLiT-Tiny on Imagenette, 20 epochs from scratch at 160 px.

Command: ``python tools/train.py configs/glit/glit-tiny_1xb64_imagenette.py``
Source: ours, what its distilled siblings are compared with.
Published: none.
"""

_base_ = [
    '../_base_/models/glit_cls.py',
    '../_base_/datasets/imagenette_160.py',
    '../_base_/schedules/imagenette_adamw_20e.py',
    '../_base_/runtime/cls.py',
]

model = dict(
    backbone=dict(img_size=160, drop_path_rate=0.05),
    head=dict(num_classes=10),
    train_cfg=dict(_delete_=True, augments=dict(type='Mixup', alpha=0.2)),
)
