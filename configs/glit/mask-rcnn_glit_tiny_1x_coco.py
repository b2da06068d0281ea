"""Mask R-CNN 1x with GLiT-Tiny on COCO, batch 16.

Command: ``bash tools/dist_train.sh configs/glit/mask-rcnn_glit_tiny_1x_coco.py 8
--cfg-options load_from=CHECKPOINT``
Source: no published result; ViTDet's simple feature pyramid and layer decay.
Published: none.
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/runtime/det.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmhybrid.GLiT',
        arch='tiny',
        out_type='featmap',
        out_norm_cfg=dict(type='LN2d'),
        drop_path_rate=0.1,
        norm_eval=True,  # 2 images a GPU give poor statistics
    ),
    neck=dict(_delete_=True, type='mmhybrid.SimpleFeaturePyramid', in_channels=192, out_channels=256, num_outs=5),
)
optim_wrapper = dict(constructor='mmhybrid.LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.7))
