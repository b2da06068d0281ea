# A small RTMDet on the demo scenes. Its mosaic keeps no images between samples, with which no training would resume
# exactly.
_base_ = ['../models/rtmdet.py', './det.py']

scale = (128, 128)
pad = dict(type='Pad', size=scale, pad_val=dict(img=(114, 114, 114)))
model = dict(
    neck=dict(out_channels=48),
    bbox_head=dict(num_classes=len(_base_.classes), in_channels=48, feat_channels=48),
)

load_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
mix_pipeline = [
    dict(type='Mosaic', img_scale=scale, pad_val=114.0, prob=0.5),
    dict(type='RandomCrop', crop_size=scale),
    dict(type='RandomFlip', prob=0.5),
    pad,
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    pad,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
scenes = dict(
    type='CocoDataset',
    data_root=_base_.data_root,
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    metainfo=dict(classes=_base_.classes),
    filter_cfg=dict(filter_empty_gt=True, min_size=16),
)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(**scenes, indices=400, pipeline=load_pipeline),
        pipeline=mix_pipeline,
    ),
)
val_dataloader = dict(batch_size=10, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=10, dataset=dict(pipeline=test_pipeline))
val_evaluator = dict(metric='bbox')
test_evaluator = dict(metric='bbox')
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))  # the head's convolutions are shared by its levels
