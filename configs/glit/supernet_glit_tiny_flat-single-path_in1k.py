"""Supernet of GLiT-Tiny over the whole space at once, single path: the baseline of the hierarchical search.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_tiny_flat-single-path_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, sections 3.3, 4.1 and 4.3, Table 5 ("SPOS").
Published: 72.7 % top-1, 0.9 G FLOPs for the network found, retrained.
Each of the 198 candidates of a block has weights of its own, 1.06 G parameters in all, which take 12.7 GB on each GPU
in distributed training (docs/spaces.md). ``supernet_glit_tiny_flat_in1k.py`` shares weights instead.
The paper names no augmentation for supernets, only for the retraining; here images are cropped and flipped.
"""

_base_ = [
    '../_base_/models/glit_supernet.py',
    '../_base_/datasets/imagenet_search_plain_224.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/runtime/cls.py',
]

model = dict(architecture=dict(backbone=dict(space=dict(level='flat'), separate=['blocks'])))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, end=200, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=200)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
