"""Supernet of GLiT-Base over the heads of each block, the first stage of the hierarchical search.

Command: ``bash tools/dist_train.sh configs/glit/supernet_glit_base_distribution_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: GLiT, sections 3.2, 3.3 and 4.1, Table 3.
Published: 82.3 % top-1, 17.0 G FLOPs for the network found, retrained.
All 13 splits of 12 heads are candidates (section 3.2), 1.26 G parameters in all, which take 15.1 GB on each GPU in
distributed training. The sizes that this stage keeps are those of Tiny's, a reading.
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
        backbone=dict(space=dict(embed_dims=768, num_heads=12, level='distribution'), separate=['blocks'])
    )
)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
