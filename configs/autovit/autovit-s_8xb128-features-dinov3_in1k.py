"""AutoViT-S on images of ImageNet-1k without their labels, 300 epochs towards the features of DINOv3 ViT-S/16.

Command: ``bash tools/dist_train.sh configs/autovit/autovit-s_8xb128-features-dinov3_in1k.py 8``
Source: ours; ``autovit_s_in1k.py`` then begins with it by
``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')`` in its backbone.
Published: none.
The teacher's weights have to be saved first: ``configs/_base_/distillation/dinov3.py`` says how.
"""

_base_ = ['./autovit_s_in1k.py', '../_base_/distillation/dinov3.py']

model = dict(_delete_=True, type='mmhybrid.FeatureDistiller', backbone=_base_.model.backbone, teacher=_base_.teacher)
train_dataloader = dict(dataset=dict(with_label=False))
val_dataloader = val_cfg = val_evaluator = test_dataloader = test_cfg = test_evaluator = None
