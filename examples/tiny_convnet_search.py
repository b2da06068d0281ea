"""A supernet of the small convolutional family on the demo data, and a search over it; see docs/own_space.md."""

_base_ = ['../configs/_base_/demo/supernet.py', '../configs/_base_/demo/runtime.py']

custom_imports = dict(imports=['mmhybrid', 'tiny_convnet'])
space = dict(type='mmhybrid.TinyConvNetSpace')
model = dict(
    architecture=dict(
        backbone=dict(type='mmhybrid.Supernet', space=space, backbone=dict(type='mmhybrid.TinyConvNet')),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', in_channels=None),
    )
)
search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(evolution=dict(sampler=dict(type='Evolution'), budget=24, population=8)),
    objectives=[dict(name='accuracy/top1')],
    constraints=dict(macs_m=dict(max=20)),
    calibration=_base_.calibration,
    input_size=96,
)
