"""A supernet of the small convolutional family on the demo data, and a search over it; see docs/own_space.md."""

_base_ = ['../configs/_base_/demo/supernet.py', '../configs/_base_/demo/runtime.py']

custom_imports = dict(imports=['mmhybrid', 'tiny_convnet'])
space = dict(type='mmhybrid.TinyConvNetSpace')
model = dict(
    architecture=dict(
        **_base_.classifier,
        backbone=dict(type='mmhybrid.Supernet', space=space, backbone=dict(type='mmhybrid.TinyConvNet')),
        neck=dict(type='GlobalAveragePooling'),
    )
)
model['architecture']['head'].update(type='LinearClsHead', in_channels=96)
search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=[dict(name='evolution', sampler=dict(type='Evolution'), budget=24, population=8)],
    objectives=[dict(name='accuracy/top1')],
    constraints=[dict(name='macs_m', max=20)],
    calibration=_base_.calibration,
    input_size=96,
)
