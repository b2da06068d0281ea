# Imagenette at 64 px, kept in memory: 20 epochs on 250 images of each class, scored once, at the end, on 100 others.
# The program sets data_root and, for each seed, the split and the seed of the training.
_base_ = [
    '../../../../configs/_base_/schedules/imagenette_adamw_20e.py',
    '../../../../configs/_base_/runtime/cls.py',
]

custom_imports = dict(imports=['mmhybrid', 'evidence.images'], allow_failed_imports=False)
data_preprocessor = dict(num_classes=10, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
images = dict(type='SplitImages', data_root='data/imagenette', split=0, held_out=100, short_side=96)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **images,
        part='train',
        pipeline=[
            dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.35, 1.0)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **images,
        part='held_out',
        pipeline=[
            dict(type='ResizeEdge', scale=64),
            dict(type='CenterCrop', crop_size=64),
            dict(type='PackInputs'),
        ],
    ),
)
test_evaluator = dict(type='Accuracy', topk=(1,))
val_cfg = None
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
log_level = 'WARNING'
