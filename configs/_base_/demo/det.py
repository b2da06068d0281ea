# Boxes and masks of the demo scenes.
_base_ = ['mmdet::_base_/datasets/coco_instance.py', '../schedules/no_decay.py']

default_scope = 'mmdet'
classes = ('bar', 'crescent', 'cross', 'disc', 'ring', 'square', 'star', 'triangle')

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (160, 160)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (160, 160)
data_root = 'data/demo/coco/'
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=data_root,
        indices=400,
        metainfo=dict(classes=classes),
        filter_cfg=dict(filter_empty_gt=True, min_size=16),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=1, dataset=dict(data_root=data_root, metainfo=dict(classes=classes), pipeline=test_pipeline)
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

max_epochs = 8
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='mmhybrid.ResumableEpochLoop', max_epochs=max_epochs, val_interval=4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmhybrid.AtomicCheckpointHook', interval=2, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
