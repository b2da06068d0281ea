"""A supernet of small GLiTs on Imagenette at 64 px, of which that of ``glit_64px.py`` is one.

Command: ``python benchmarks/evidence/run.py ranks-glit``
Source: ours, for claims on supernets.
Published: none.
Recipe and images are those of ``glit_64px.py``; the candidates of a block share weights.
"""

_base_ = ['./glit_64px.py']

supernet = dict(
    type='mmhybrid.Supernet',
    space=dict(type='mmhybrid.GLiTSpace', embed_dims=72, num_heads=3, num_blocks=6),
    backbone=dict(type='mmhybrid.GLiT', img_size=64, patch_size=8, drop_path_rate=0.05),
)
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    mutator=dict(type='mmhybrid.UniformMutator', seed=0),
    architecture={**_base_.model, 'backbone': supernet},
)
find_unused_parameters = True
