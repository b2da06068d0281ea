"""The architectures of all families, typed and with their presets; search spaces and backbones use them."""

from mmhybrid.archs.autovit import AutoViTArch
from mmhybrid.archs.base import NetworkArch
from mmhybrid.archs.efficientnet_lite import EfficientNetLiteArch
from mmhybrid.archs.elastic import ElasticArch
from mmhybrid.archs.glit import GLiTArch
from mmhybrid.archs.glnet import GLNetArch

__all__ = ['AutoViTArch', 'EfficientNetLiteArch', 'ElasticArch', 'GLNetArch', 'GLiTArch', 'NetworkArch']
