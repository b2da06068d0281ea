"""What a network of a family is: one typed architecture each, with its presets. Spaces and backbones use it."""

from mmhybrid.archs.autovit import AutoViTArch
from mmhybrid.archs.base import NetworkArch
from mmhybrid.archs.efficientnet_lite import EfficientNetLiteArch
from mmhybrid.archs.elastic import ElasticArch
from mmhybrid.archs.glit import GLiTArch
from mmhybrid.archs.glnet import GLNetArch

__all__ = ['AutoViTArch', 'EfficientNetLiteArch', 'ElasticArch', 'GLNetArch', 'GLiTArch', 'NetworkArch']
