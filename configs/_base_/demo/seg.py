# A small UperNet on the demo scenes.
_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    '../schedules/no_decay.py',
]

default_scope = 'mmseg'
classes = ('ground', 'bar', 'crescent', 'cross', 'disc', 'ring', 'square', 'star', 'triangle')
palette = [[64, 64, 64]] + [[(37 * i) % 256, (91 * i) % 256, (151 * i) % 256] for i in range(1, 9)]
norm_cfg = dict(type='BN', requires_grad=True)
crop_size = (128, 128)
model = dict(
    data_preprocessor=dict(size=crop_size),
    pretrained=None,
    decode_head=dict(channels=64, num_classes=len(classes), norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=32, num_classes=len(classes), norm_cfg=norm_cfg),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (128, 128)
train_pipeline[3].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (128, 128)
data = dict(type='BaseSegDataset', data_root='data/demo/ade', metainfo=dict(classes=classes, palette=palette))
data.update(img_suffix='.jpg', seg_map_suffix='.png', reduce_zero_label=True)
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(pipeline=train_pipeline, indices=400, **data),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    dataset=dict(pipeline=test_pipeline, **data),
)
test_dataloader = val_dataloader

max_iters = 400
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='PolyLR', power=1.0, by_epoch=False, begin=50, end=max_iters),
]
train_cfg = dict(type='mmhybrid.ResumableIterLoop', max_iters=max_iters, val_interval=200)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmhybrid.AtomicCheckpointHook', by_epoch=False, interval=100, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
log_processor = dict(by_epoch=False)
