"""Supernet of GLiT-Tiny over the whole space at once, the baseline that the hierarchical search is compared with.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_tiny_flat_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, sections 3.3 and 4.1, Table 5.
Published: 72.7 % top-1, 0.9 G FLOPs for the network found, retrained.
Candidates of a block share weights here: with weights of their own (``separate=['blocks']``) a block has 198 of them,
1.06 G parameters in all; docs/spaces.md says what memory that takes.
The paper names no augmentation for supernets, only for the retraining; here images are cropped and flipped.
"""

_base_ = [
    '../_base_/models/glit_cls.py',
    '../_base_/datasets/imagenet_search_plain_224.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/runtime/cls.py',
]

space = dict(type='mmhybrid.GLiTSpace', level='flat')
classifier = _base_.model
classifier['train_cfg'] = None  # mixup and CutMix belong to the retraining, as does the rest of DeiT's augmentation
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    mutator=dict(type='mmhybrid.UniformMutator', seed=0),
    architecture=dict(
        **{**classifier, 'backbone': dict(type='mmhybrid.Supernet', space=space, backbone=dict(type='mmhybrid.GLiT'))}
    ),
)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, end=200, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=200)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
find_unused_parameters = True
