# One-shot training of a classifier on the demo data: a random subnet a step; five subnets reported at each validation.
_base_ = ['./cls.py']

model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    mutator=dict(type='mmhybrid.UniformMutator', seed=0),
    # small networks that take turns have enough to learn without mixup
    architecture={**_base_.model, 'train_cfg': None},
)
# a quarter of the training images is held out, for this validation and for the search; the test set stays unseen
train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=96, crop_ratio_range=(0.7, 1.0))
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 96
train_dataloader = dict(
    batch_size=16,
    collate_fn=dict(type='default_collate'),  # each tensor that a worker hands over takes the training 0.2 ms
    dataset=dict(ann_file='meta/search_train.txt', pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(ann_file='meta/search_val.txt', data_prefix='train', pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
calibration = dict(
    num_images=128,
    dataset=dict(
        type='CustomDataset',
        data_root='data/demo/imagenet',
        ann_file='meta/search_train.txt',
        data_prefix='train',
        pipeline=test_pipeline,
    ),
)
train_cfg = dict(max_epochs=16, val_interval=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=16, convert_to_iter_based=True),
]
val_cfg = dict(type='mmhybrid.SubnetValLoop', num_random=3, calibration=calibration)
find_unused_parameters = True
