# ImageNet with images held out of the training set by tools/split_imagenet.py; they take the validation set's place.
_base_ = ['./imagenet_224.py']

train_dataloader = dict(dataset=dict(ann_file='meta/search_train.txt'))
val_dataloader = dict(dataset=dict(ann_file='meta/search_val.txt', data_prefix='train'))
calibration = dict(
    num_images=4096,
    batch_size=128,
    num_workers=8,
    dataset=dict(
        type='mmhybrid.ImageNetFolders',
        data_root='data/imagenet',
        ann_file='meta/search_train.txt',
        data_prefix='train',
        pipeline=_base_.test_pipeline,
    ),
)
