"""Supernet of GLiT-Tiny over the whole space at once, the baseline that the hierarchical search is compared with.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_tiny_flat_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, sections 3.3 and 4.1, Table 5.
Published: 72.7 % top-1, 0.9 G FLOPs for the network found, retrained.
Candidates of a block share weights here: with weights of their own (``separate=['blocks']``) a block has 198 of them,
1.06 G parameters in all; docs/spaces.md says what memory that takes.
The paper names no augmentation for supernets, only for the retraining; here images are cropped and flipped.
"""

_base_ = ['./supernet_glit_tiny_distribution_in1k.py']

model = dict(architecture=dict(backbone=dict(space=dict(level='flat'), separate=[])))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, end=200, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=200)
