# A small RTMDet on the demo scenes. Its mosaic keeps no images between samples, with which no training would resume
# exactly.
_base_ = ['./det.py']

scale = (128, 128)
pad = dict(type='Pad', size=scale, pad_val=dict(img=(114, 114, 114)))
model = dict(
    type='RTMDet',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    neck=dict(
        type='CSPNeXtPAFPN',
        in_channels=None,  # all that a supernet puts out
        out_channels=48,
        num_csp_blocks=1,
        expand_ratio=0.5,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU', inplace=True),
    ),
    bbox_head=dict(
        type='RTMDetSepBNHead',
        num_classes=len(_base_.classes),
        in_channels=48,
        feat_channels=48,
        stacked_convs=2,
        share_conv=True,
        pred_kernel_size=1,
        exp_on_reg=False,
        with_objectness=False,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU', inplace=True),
    ),
    train_cfg=dict(
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13), allowed_border=-1, pos_weight=-1, debug=False
    ),
    test_cfg=dict(
        nms_pre=1000, min_bbox_size=0, score_thr=0.001, nms=dict(type='nms', iou_threshold=0.65), max_per_img=100
    ),
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
