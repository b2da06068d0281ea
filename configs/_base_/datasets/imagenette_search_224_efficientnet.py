# Imagenette with images held out of the training set by tools/split_imagenet.py; they take the validation set's place.
_base_ = ['./imagenette_224_efficientnet.py']

train_dataloader = dict(dataset=dict(ann_file='meta/search_train.txt'))
val_dataloader = dict(dataset=dict(ann_file='meta/search_val.txt', data_prefix='train'))
calibration = dict(
    num_images=512,
    dataset=dict(
        type='CustomDataset',
        data_root='data/imagenette',
        ann_file='meta/search_train.txt',
        data_prefix='train',
        pipeline=_base_.test_pipeline,
    ),
)
