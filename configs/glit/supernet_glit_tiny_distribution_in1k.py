"""Supernet of GLiT-Tiny over the heads of each block, the first stage of the hierarchical search.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_tiny_distribution_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, sections 3.3 and 4.1, Table 4.
Published: 75.4 % top-1, 1.4 G FLOPs for the network found, retrained.
The paper names no augmentation for supernets, only for the retraining; here images are cropped and flipped.
The paper does not say the sizes of the blocks that this stage keeps. Kernel 31, expansion 4, qkv ratio 1, MLP ratio 4
are a reading, with which the published heads cost 1.4 G. The option ``space.fixed`` replaces them.
"""

_base_ = [
    '../_base_/models/glit_supernet.py',
    '../_base_/datasets/imagenet_search_plain_224.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/runtime/cls.py',
]

model = dict(architecture=dict(backbone=dict(space=dict(level='distribution'), separate=['blocks'])))
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
