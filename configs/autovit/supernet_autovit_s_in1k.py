"""Supernet of AutoViT-S on ImageNet-1k.

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_s_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, section 3.3.1, Tables 1, 2 and 5.
Published: none for a supernet that is known to be without distillation; 79.2 % top-1 for the network found.
The paper says of XXS only that its supernet was distilled.
"""

_base_ = [
    '../_base_/models/autovit_supernet.py',
    '../_base_/datasets/imagenet_search_256.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/runtime/cls.py',
]

model = dict(architecture=dict(backbone=dict(space=dict(table='s'))))
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
train_cfg = dict(val_interval=10)
