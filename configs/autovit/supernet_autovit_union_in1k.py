"""Supernet of the union of the three spaces on ImageNet-1k.

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_union_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, section 5.2: one supernet in place of three.
Published: none without distillation.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py']

model = dict(architecture=dict(backbone=dict(space=dict(table='union')), head=dict(in_channels=1152)))
