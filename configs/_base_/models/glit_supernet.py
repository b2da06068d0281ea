# GLiT's classifier with a supernet in the place of its backbone; heads take the supernet's width.
# Mixup and CutMix belong to the retraining, as does the rest of DeiT's augmentation.
_base_ = ['./glit_cls.py']

supernet = dict(
    type='mmhybrid.Supernet',
    space=dict(type='mmhybrid.GLiTSpace'),
    backbone=dict(type='mmhybrid.GLiT'),
)
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    mutator=dict(type='mmhybrid.UniformMutator', seed=0),
    architecture={**_base_.model, 'backbone': supernet, 'train_cfg': None},
)
find_unused_parameters = True
