"""Supernet of GLiT-Tiny over the qkv and MLP ratio of attention blocks, the space of the "NLP-NAS" baseline.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_tiny_nlp-nas_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, sections 4.1 and 4.3, Table 4.
Published: 73.4 % top-1 and 1.4 G FLOPs for the network found, retrained.
"""

_base_ = [
    '../_base_/models/glit_supernet.py',
    '../_base_/datasets/imagenet_search_plain_224.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/runtime/cls.py',
]

model = dict(architecture=dict(backbone=dict(space=dict(level='attention'), separate=['blocks'])))
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
