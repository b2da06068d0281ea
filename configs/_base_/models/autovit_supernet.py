# AutoViT's classifier with a supernet in the place of its backbone; heads take the supernet's width.
_base_ = ['./autovit_cls.py']

supernet = dict(
    type='mmhybrid.Supernet',
    space=dict(type='mmhybrid.AutoViTSpace'),
    backbone=dict(type='mmhybrid.AutoViT', drop_path_rate=0.1),
)
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    mutator=dict(type='mmhybrid.UniformMutator', seed=0),
    architecture={**_base_.model, 'backbone': supernet},
)
find_unused_parameters = True
