# A small RetinaNet on the demo scenes.
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', './det.py']

model = dict(
    neck=dict(out_channels=64),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        num_classes=len(_base_.classes),
        anchor_generator=dict(octave_base_scale=3),
    ),
)
val_evaluator = dict(metric='bbox')
test_evaluator = dict(metric='bbox')
