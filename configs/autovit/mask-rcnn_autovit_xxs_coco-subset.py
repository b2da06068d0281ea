"""Mask R-CNN with AutoViT-XXS on a small part of COCO, 16 epochs at a short side of 320 px.

Command: ``python tools/train.py configs/autovit/mask-rcnn_autovit_xxs_coco-subset.py``; the backbone of
``autovit_xxs_imagenette.py`` can be given with ``--cfg-options load_from=CHECKPOINT``
Source: ours, a quick check on real photographs; see docs/results.md for what it reaches.
Published: none.
"""

_base_ = ['./mask-rcnn_autovit_s_1x_coco.py']

model = dict(
    backbone=dict(arch='xxs', drop_path_rate=0.0, norm_eval=False),  # from scratch there are no statistics to fix
    neck=dict(in_channels=[32, 32, 48, 80], out_channels=96),
    rpn_head=dict(in_channels=96, feat_channels=96),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=96),
        bbox_head=dict(in_channels=96, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=96),
        mask_head=dict(num_convs=2, in_channels=96, conv_out_channels=96),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=1000, max_per_img=300), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (533, 320)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (533, 320)
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=16, milestones=[12, 15], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=4)
train_cfg = dict(max_epochs=16, val_interval=8)
default_hooks = dict(logger=dict(interval=5))
