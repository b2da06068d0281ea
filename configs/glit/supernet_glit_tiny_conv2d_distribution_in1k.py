"""Supernet of GLiT-Tiny with convolution over the map and without class token: the first stage.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_tiny_conv2d_distribution_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, section 4.3 and Table 6 ("Conv2d"): kernels of 3, 5 and 7, all else as in the hierarchical search.
Published: 76.4 % top-1, 1.4 G FLOPs for the network found, retrained.
The sizes that this stage keeps are in the middle of their candidates, a reading; the option ``space.fixed`` replaces
them.
The paper names no augmentation for supernets, only for the retraining; here images are cropped and flipped.
"""

_base_ = [
    '../_base_/models/glit_supernet.py',
    '../_base_/datasets/imagenet_search_plain_224.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/runtime/cls.py',
]

model = dict(
    architecture=dict(
        backbone=dict(
            space=dict(level='distribution', locality='conv2d'),
            backbone=dict(out_type='avg_featmap'),
            separate=['blocks'],
        )
    )
)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
