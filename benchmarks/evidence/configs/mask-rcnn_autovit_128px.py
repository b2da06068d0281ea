"""Mask R-CNN with AutoViT in miniature on generated scenes of 128 px.

Command: ``python benchmarks/evidence/run.py mask-rcnn``
Source: ours, for a row of AutoViT's Table 3.
Published: none.
The backbone is that of ``autovit_alone_64px.py``, and begins with its weights.
"""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', './_base_/scenes_128.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhybrid.AutoViT',
        arch=dict(
            stem_width=16,
            conv_widths=[16, 24, 32],
            conv_depths=[1, 2, 2],
            embed_dims=[48, 64, 80],
            depths=[2, 2, 2],
            num_heads=[3, 3, 3],
            mlp_ratios=[2, 2, 2],
        ),
        out_indices=(0, 1, 2, 3),
        mbpool=False,
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=[24, 32, 48, 64], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=128, num_classes=len(_base_.classes)),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64, num_classes=len(_base_.classes)),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=30)),
)
