"""A supernet that begins as a ConvNeXt of timm on the demo data, and a search over it; see docs/own_space.md."""

_base_ = ['../configs/_base_/demo/supernet.py', '../configs/_base_/demo/runtime.py']

custom_imports = dict(imports=['mmhybrid', 'timm_convnext'])
space = dict(type='mmhybrid.ElasticSpace', around='convnext-atto')
start = dict(type='mmhybrid.FromNetwork', arch='convnext-atto', checkpoint='convnext_atto.pth')
backbone = dict(type='mmhybrid.Supernet', space=space, backbone=dict(type='mmhybrid.TimmConvNeXt'), init_cfg=start)
model = dict(
    mutator=dict(type='mmhybrid.SandwichMutator'),
    architecture=dict(backbone=backbone, neck=None, head=dict(type='LinearClsHead', in_channels=None)),
)
search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(evolution=dict(sampler=dict(type='Evolution'), budget=24, population=8)),
    objectives=[dict(name='accuracy/top1')],
    constraints=dict(params_m=dict(max=2.5)),
    calibration=_base_.calibration,
    input_size=96,
)
