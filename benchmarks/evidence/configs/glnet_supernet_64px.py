"""A supernet around the small GLNet-STL on Imagenette at 64 px, trained with one subnet a step.

Command: ``python benchmarks/evidence/run.py supernet-start``
Source: ours, for claims on supernets.
Published: none.
Recipe and images are those of ``glnet_64px.py``.
"""

_base_ = ['./glnet_64px.py']

supernet = dict(
    type='mmhybrid.Supernet',
    space=dict(type='mmhybrid.GLNetSpace', around={**_base_.model.backbone.arch}),
    backbone=dict(type='mmhybrid.GLNet', drop_path_rate=0.05),
)
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    mutator=dict(type='mmhybrid.UniformMutator', seed=0),
    architecture={**_base_.model, 'backbone': supernet},
)
find_unused_parameters = True
