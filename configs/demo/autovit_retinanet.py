"""RetinaNet with a small AutoViT on the demo data.

Command: ``python tools/train.py configs/demo/autovit_retinanet.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    '../_base_/demo/autovit.py',
    '../_base_/demo/det.py',
    '../_base_/demo/runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, **_base_.dense),
    neck=dict(in_channels=_base_.channels, out_channels=64),
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
