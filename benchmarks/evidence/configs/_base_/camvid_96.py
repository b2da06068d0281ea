# CamVid at 128 x 96 px: 40 epochs on 372 frames, judged once, at the end, by 96 others. The program shrinks the frames,
# and sets their folder, for each seed the lists of frames, and the seed of the training.
_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    '../../../../configs/_base_/datasets/camvid_480x360.py',
    '../../../../configs/_base_/schedules/imagenette_adamw_20e.py',
    '../../../../configs/_base_/runtime/seg.py',
]

image_size = (96, 128)  # height and width of all frames
frames = dict(
    type='BaseSegDataset',
    metainfo=dict(classes=_base_.classes, palette=_base_.palette),
    data_prefix=dict(img_path='images', seg_map_path='labels'),
    img_suffix='.png',
    seg_map_suffix='.png',
)
train_dataloader = dict(
    _delete_=True,
    batch_size=16,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **frames,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomResize', scale=(128, 96), ratio_range=(1.0, 1.75), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(96, 96), cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs'),
        ],
    ),
)
test_dataloader = dict(
    _delete_=True,
    batch_size=16,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **frames,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
    ),
)
val_dataloader = None
val_evaluator = None
val_cfg = None
max_epochs = 40
optim_wrapper = dict(optimizer=dict(lr=1e-3))
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    pretrained=None,
    neck=dict(out_channels=64),
    decode_head=dict(in_channels=[64] * 4, channels=64, num_classes=11, norm_cfg=norm_cfg),
)
default_hooks = dict(
    logger=dict(interval=10, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=True)
log_level = 'WARNING'
sync_bn = None
