"""The backbones, one family a module."""

from mmhybrid.models.backbones.autovit import AutoViT
from mmhybrid.models.backbones.convnext import ElasticConvNeXt
from mmhybrid.models.backbones.efficientnet_lite import EfficientNetLite
from mmhybrid.models.backbones.glit import GLiT
from mmhybrid.models.backbones.glnet import GLNet

__all__ = ['AutoViT', 'EfficientNetLite', 'ElasticConvNeXt', 'GLNet', 'GLiT']
