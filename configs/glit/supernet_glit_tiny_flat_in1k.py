"""Supernet of GLiT-Tiny over the whole space at once, candidates of a block sharing weights.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_tiny_flat_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, sections 3.3 and 4.1, for all but the weights; these are entangled as in AutoFormer.
Published: none with shared weights; 72.7 % top-1 with a single path (``supernet_glit_tiny_flat-single-path_in1k.py``).
Beside the hierarchical search, whose supernets are single path, this one differs in two things: the search is flat, and
weights are shared. It fits where a single path over the whole space does not.
The paper names no augmentation for supernets, only for the retraining; here images are cropped and flipped.
"""

_base_ = [
    '../_base_/models/glit_supernet.py',
    '../_base_/datasets/imagenet_search_plain_224.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/runtime/cls.py',
]

model = dict(architecture=dict(backbone=dict(space=dict(level='flat'))))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, end=200, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=200)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
