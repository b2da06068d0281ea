"""A supernet around the small AutoViT on Imagenette at 64 px, trained with one subnet a step.

Command: ``python benchmarks/evidence/run.py supernet-start-autovit``
Source: ours, for claims on supernets.
Published: none.
Recipe and images are those of ``autovit_alone_64px.py``.
"""

_base_ = ['./autovit_alone_64px.py']

supernet = dict(
    type='mmhybrid.Supernet',
    space=dict(type='mmhybrid.AutoViTSpace', around={**_base_.model.backbone.arch}, table=dict(resolutions=[64])),
    backbone=dict(type='mmhybrid.AutoViT', drop_path_rate=0.0),
)
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    mutator=dict(type='mmhybrid.UniformMutator', seed=0),
    architecture={**_base_.model, 'backbone': supernet},
)
find_unused_parameters = True
