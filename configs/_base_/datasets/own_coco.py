# Images of your own with boxes in COCO's format: change the first three lines. They name the generated scenes of
# tools/make_demo_data.py. The images that tools/split_coco.py holds out are for the search, the test set for the end.
data_root = 'data/demo/coco'
classes = ('bar', 'crescent', 'cross', 'disc', 'ring', 'square', 'star', 'triangle')
scale = (160, 160)  # width and height that each image is fitted into, multiples of 32; 320 to 640 for photographs

training = dict(ann_file='annotations/search_train.json', data_prefix=dict(img='train2017/'))
held_out = dict(ann_file='annotations/search_val.json', data_prefix=dict(img='train2017/'))
test = dict(ann_file='annotations/instances_val2017.json', data_prefix=dict(img='val2017/'))

pad = dict(type='Pad', size=scale, pad_val=dict(img=(114, 114, 114)))
load_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=scale, ratio_range=(0.75, 1.5), keep_ratio=True),
]
# This mosaic keeps no images between samples, with which no training would resume exactly.
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
photos = dict(type='CocoDataset', data_root=data_root, metainfo=dict(classes=classes))
filter_cfg = dict(filter_empty_gt=True, min_size=32)
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MultiImageMixDataset',
        dataset=dict(**photos, **training, filter_cfg=filter_cfg, pipeline=load_pipeline),
        pipeline=mix_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**photos, **held_out, test_mode=True, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=10,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**photos, **test, test_mode=True, pipeline=test_pipeline),
)
val_evaluator = dict(type='CocoMetric', metric='bbox', ann_file=f'{data_root}/{held_out["ann_file"]}')
test_evaluator = dict(type='CocoMetric', metric='bbox', ann_file=f'{data_root}/{test["ann_file"]}')
calibration = dict(num_images=128, dataset=dict(**photos, **training, filter_cfg=filter_cfg, pipeline=test_pipeline))
