# Generated scenes of 128 px: 12 epochs on 800, judged once, at the end, by 200 others. The program draws them anew for
# each seed, and sets their folder and the seed of the training.
_base_ = ['../../../../configs/_base_/demo/det.py', '../../../../configs/_base_/demo/runtime.py']

image_size = (128, 128)  # height and width of all scenes
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = image_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = image_size
train_dataloader = dict(
    batch_size=16, num_workers=0, persistent_workers=False, dataset=dict(indices=None, pipeline=train_pipeline)
)
test_dataloader = dict(batch_size=20, num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
val_dataloader = None
val_evaluator = None
val_cfg = None
max_epochs = 12
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1))
log_level = 'WARNING'
