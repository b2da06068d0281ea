"""Supernet of the union of the three spaces on ImageNet-1k.

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_union_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, section 5.2: one supernet in place of three.
Published: none without distillation.
A network is one of any of the three spaces, and each step draws one of the spaces first: a quarter of the steps trains
networks of 1 to 1.8 M parameters, the size at which the paper compares. The paper does not say what its union holds.
By the other reading, ``--cfg-options model.architecture.backbone.space.table=union-free``, a transformer stage takes
any width of the three; then less than 1 % of the steps train networks of that size, and the union cannot but lose.
"""

_base_ = [
    '../_base_/models/autovit_supernet.py',
    '../_base_/datasets/imagenet_search_256.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/runtime/cls.py',
]

model = dict(architecture=dict(backbone=dict(space=dict(table='union'))))
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
train_cfg = dict(val_interval=10)
