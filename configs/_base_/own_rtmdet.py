# RTMDet on images of your own: how its supernet is trained, and the search for the front of box AP against latency.
_base_ = [
    './distillation/in_place.py',
    './models/rtmdet.py',
    './datasets/own_coco.py',
    './schedules/no_decay.py',
    './runtime/det.py',
]

model = dict(bbox_head=dict(num_classes=len(_base_.classes)))
max_epochs = 8
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10.0),
    paramwise_cfg=dict(bypass_duplicate=True),  # the head's convolutions are shared by its levels
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(type='mmhybrid.ResumableEpochLoop', max_epochs=max_epochs, val_interval=4)
val_cfg = dict(type='mmhybrid.SubnetValLoop', num_random=1, calibration=_base_.calibration)
test_cfg = dict(type='TestLoop')
find_unused_parameters = True

search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(nsga2=dict(sampler=dict(type='OptunaSampler', name='NSGAIISampler'), budget=60, population=12)),
    objectives=[dict(name='coco/bbox_mAP'), dict(name='latency_ms', direction='minimize')],
    latency_table='work_dirs/own_latency.json',
    input_size=_base_.scale[::-1],
    calibration=_base_.calibration,
)
