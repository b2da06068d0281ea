"""A small AutoViT on Imagenette at 64 px as a plain classifier.

Command: ``python benchmarks/evidence/run.py ranks-autovit``
Source: ours, for claims on supernets.
Published: none.
Recipe and images are those of ``autovit_64px.py`` without a teacher.
"""

_base_ = ['./_base_/imagenette_64.py', '../../../configs/_base_/models/autovit_cls.py']

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            stem_width=16,
            conv_widths=[16, 24, 32],
            conv_depths=[1, 2, 2],
            embed_dims=[48, 64, 80],
            depths=[2, 2, 2],
            num_heads=[3, 3, 3],
            mlp_ratios=[2, 2, 2],
        ),
        drop_path_rate=0.0,
    ),
    head=dict(num_classes=10, in_channels=384, topk=(1,)),
    train_cfg=None,
)
