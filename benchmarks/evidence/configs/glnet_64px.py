"""A small GLNet-STL on Imagenette at 64 px, with fewer and narrower blocks.

Command: ``python benchmarks/evidence/run.py glmix-branches``
Source: ours, for rows of GLNet's Tables 6 and 7.
Published: none.
Maps have 256, 64, 16 and 4 pixels. There are 64 slots, as published, but no more than a map has pixels.
"""

_base_ = ['./_base_/imagenette_64.py', '../../../configs/_base_/models/glnet_cls.py']

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=[32, 64, 96, 128],
            depths=[1, 1, 2, 1],
            ffn_ratios=[4, 4, 4, 4],
            mixers=['glmix', 'glmix', 'glmix', 'mhsa'],
            num_slots=[64, 64, 16, 64],
        ),
        drop_path_rate=0.05,
    ),
    head=dict(num_classes=10, in_channels=128, topk=(1,)),
    train_cfg=dict(_delete_=True, augments=dict(type='Mixup', alpha=0.2)),
)
