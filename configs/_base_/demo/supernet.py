# One-shot training of a classifier on the demo data: a random subnet a step; five subnets reported at each validation.
_base_ = ['./cls.py']

classifier = _base_.model
model = dict(_delete_=True, type='mmhybrid.OneShot', mutator=dict(type='mmhybrid.UniformMutator', seed=0))
# a quarter of the training images is held out, for this validation and for the search; the test set stays unseen
train_dataloader = dict(dataset=dict(ann_file='meta/search_train.txt'))
val_dataloader = dict(dataset=dict(ann_file='meta/search_val.txt', data_prefix='train'))
calibration = dict(
    num_images=128,
    dataset=dict(
        type='CustomDataset',
        data_root='data/demo/imagenet',
        ann_file='meta/search_train.txt',
        data_prefix='train',
        pipeline=_base_.test_pipeline,
    ),
)
train_cfg = dict(max_epochs=30, val_interval=10)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, end=30, convert_to_iter_based=True),
]
val_cfg = dict(type='mmhybrid.SubnetValLoop', num_random=3, calibration=calibration)
