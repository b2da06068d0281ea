# EfficientNet-Lite's classifier with a supernet in the place of its backbone; heads take the supernet's width.
_base_ = ['./efficientnet-lite_cls.py']

supernet = dict(
    type='mmhybrid.Supernet',
    space=dict(type='mmhybrid.EfficientNetLiteSpace', around='lite0'),
    backbone=dict(type='mmhybrid.EfficientNetLite'),
)
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    mutator=dict(type='mmhybrid.UniformMutator', seed=0),
    architecture={**_base_.model, 'backbone': supernet},
)
find_unused_parameters = True
