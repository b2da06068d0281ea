"""Supernet of a small GLiT over the heads of each block on Imagenette, the first stage of the hierarchical search.

Command: ``python tools/train.py configs/glit/supernet_glit_distribution_imagenette.py``, after
``python tools/split_imagenet.py data/imagenette/train data/imagenette/meta --num-held-out 500``
Source: ours, a quick check on real photographs; see docs/results.md for what it reaches.
Published: none.
"""

_base_ = [
    '../_base_/models/glit_supernet.py',
    '../_base_/datasets/imagenette_search_160.py',
    '../_base_/schedules/imagenette_adamw_20e.py',
    '../_base_/runtime/cls.py',
]

supernet = dict(
    space=dict(embed_dims=96, num_heads=3, num_blocks=4, level='distribution'),
    backbone=dict(img_size=160, patch_size=20),
    separate=['blocks'],
)
model = dict(architecture=dict(backbone=supernet, head=dict(num_classes=10)))

max_epochs = 12
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
val_cfg = dict(type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
