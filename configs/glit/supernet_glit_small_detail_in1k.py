"""Supernet of GLiT-Small over the sizes in each block, the second stage of the hierarchical search.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_small_detail_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, sections 3.3 and 4.1, Table 3.
Published: 80.5 % top-1, 4.4 G FLOPs for the network found, retrained.
The heads of Small were never published. Give those that your first stage found,
``--cfg-options model.architecture.backbone.space.distribution=FILE``, to the supernet and the search; without it they
are Tiny's, twice as many, with 212 M parameters in all (2.5 GB on each GPU in distributed training).
The paper names no augmentation for supernets, only for the retraining; here images are cropped and flipped.
"""

_base_ = [
    '../_base_/models/glit_supernet.py',
    '../_base_/datasets/imagenet_search_plain_224.py',
    '../_base_/schedules/imagenet_sgd_100e.py',
    '../_base_/runtime/cls.py',
]

distribution = [6, 0, 2, 6, 0, 2, 6, 2, 0, 6, 0, 6]
model = dict(
    architecture=dict(
        backbone=dict(
            space=dict(embed_dims=384, num_heads=6, level='detail', distribution=distribution), separate=['blocks']
        )
    )
)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
