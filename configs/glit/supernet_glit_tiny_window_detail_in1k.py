"""Supernet of GLiT-Tiny with attention within windows in place of convolution: the second stage.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_tiny_window_detail_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, section 4.3 and Table 6 ("Local-area"): windows of 14, 28 and 49 tokens, all else as in the
hierarchical search.
Published: 72.4 % top-1, 1.4 G FLOPs for the network found, retrained.
The paper does not say the heads of this search. Give those that your first stage found,
``--cfg-options model.architecture.backbone.space.distribution=FILE``, to the supernet and the search; without it they
are those of GLiT-Tiny.
The paper does not say how wide the queries and keys of a window are; here they have the candidates of attention heads.
The paper names no augmentation for supernets, only for the retraining; here images are cropped and flipped.
"""

_base_ = [
    '../_base_/models/glit_supernet.py',
    '../_base_/datasets/imagenet_search_plain_224.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/runtime/cls.py',
]

distribution = [3, 0, 1, 3, 0, 1, 3, 1, 0, 3, 0, 3]
model = dict(
    architecture=dict(
        backbone=dict(space=dict(level='detail', distribution=distribution, locality='window'), separate=['blocks'])
    )
)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
