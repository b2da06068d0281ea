# MMDetection's multi-scale training (ms_3x_coco.py): short sides of 640 to 800 pixels, long ones of 1333 at most.
_base_ = ['mmdet::_base_/datasets/coco_detection.py']

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=[(1333, 640), (1333, 800)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
