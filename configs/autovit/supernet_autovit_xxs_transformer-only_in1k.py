"""Supernet of AutoViT-XXS without MBConv on ImageNet-1k.

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xxs_transformer-only_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, section 5.3 and Table 7: a strided convolution in place of each MBConv stage.
Published: none without distillation.
The latencies of the table are not reproduced: this twin of the hybrid is faster on a CPU (14.8 instead of 16.2 ms for
XXS), for which docs/reproduce.md gives the reason. The paper does not describe its transformer-only
network.
"""

_base_ = [
    '../_base_/models/autovit_supernet.py',
    '../_base_/datasets/imagenet_search_256.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/runtime/cls.py',
]

model = dict(architecture=dict(backbone=dict(space=dict(table='xxs', transformer_only=True))))
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
train_cfg = dict(val_interval=10)
