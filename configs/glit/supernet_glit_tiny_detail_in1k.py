"""Supernet of GLiT-Tiny over the sizes in each block, the second stage of the hierarchical search.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_tiny_detail_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, sections 3.3 and 4.1, Tables 3, 4, 5 and 6.
Published: 76.3 % top-1, 1.4 G FLOPs for the network found, retrained.
The heads of each block are the published ones. For those that your own first stage found, use
``--cfg-options model.architecture.backbone.space.distribution=FILE``: its ``best_arch.json``,
``best_retrained.json`` or ``topk.csv:RANK``.
The paper names no augmentation for supernets, only for the retraining; here images are cropped and flipped.
"""

_base_ = [
    '../_base_/models/glit_supernet.py',
    '../_base_/datasets/imagenet_search_plain_224.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/runtime/cls.py',
]

distribution = [3, 0, 1, 3, 0, 1, 3, 1, 0, 3, 0, 3]  # the published result of the first stage
model = dict(
    architecture=dict(backbone=dict(space=dict(level='detail', distribution=distribution), separate=['blocks']))
)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
