"""Supernet of AutoViT-XXS on ImageNet-1k, the DeiT recipe at batch 1024 without repeated augmentation.

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xxs_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, section 3.3.1, Tables 1, 5 and 6.
Published: 64.6 % top-1, 1.8 M parameters for the network found (Table 6); 71.3 % with hard distillation from RegNetY.
Algorithm 1 freezes the weights outside the subnet of a step; here momentum and weight decay move them, as in
AutoFormer's code. ``--cfg-options optim_wrapper.type=mmhybrid.FreezingOptimWrapper`` runs the published algorithm.
"""

_base_ = [
    '../_base_/models/autovit_supernet.py',
    '../_base_/datasets/imagenet_search_256.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/runtime/cls.py',
]

model = dict(architecture=dict(backbone=dict(space=dict(table='xxs'))))
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
train_cfg = dict(val_interval=10)
