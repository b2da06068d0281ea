# LV-ViT's augmentation, which moves label maps along with the images; `label_maps` is their folder. Interpolation is
# drawn for each crop and each operation. The crop's box has its axes in order; the released transforms exchange them,
# and their targets are those of a crop mirrored at the diagonal.
_base_ = ['./imagenet_224.py']

label_maps = 'data/imagenet/label_maps'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmhybrid.LoadLabelMap', root=label_maps),
    dict(type='mmhybrid.LabelMapFlip', prob=0.5, direction='horizontal'),
    dict(
        type='mmhybrid.LabelMapRandAugment',
        augment=_base_.train_pipeline[3],
        interpolations=('bilinear', 'bicubic'),
    ),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='mmhybrid.LabelMapCrop', crop=dict(_base_.train_pipeline[1], interpolation=interpolation))]
            for interpolation in ('bilinear', 'bicubic')
        ],
    ),
    _base_.train_pipeline[4],
    dict(type='PackInputs', algorithm_keys=('label_map', 'label_map_box')),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 233  # crop ratio 0.96
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
