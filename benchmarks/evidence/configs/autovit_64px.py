"""A small AutoViT on Imagenette at 64 px that can be trained with a teacher.

Command: ``python benchmarks/evidence/run.py autovit-distillation``
Source: ours, for rows of AutoViT's Table 6.
Published: none.
OneShot has the teacher; its space has this one network alone, so nothing is shared.
"""

_base_ = ['./_base_/imagenette_64.py', '../../../configs/_base_/models/autovit_supernet.py']

space = dict(
    type='mmhybrid.AutoViTSpace',
    table=dict(
        stem_widths=[16],
        conv_widths=[[16], [24], [32]],
        conv_depths=[[1], [2], [2]],
        widths=[[48], [64], [80]],
        num_stages=[3],
        num_heads=[3],
        depths=[2],
        resolutions=[64],
    ),
)
model = dict(
    architecture=dict(
        backbone=dict(space=space, backbone=dict(drop_path_rate=0.0)),
        head=dict(num_classes=10, topk=(1,)),
        train_cfg=None,
    )
)
