"""Search spaces, which define the architectures that a search may visit."""

from mmhybrid.space.arch import Arch, Value
from mmhybrid.space.autovit import AutoViTSpace
from mmhybrid.space.base import SearchSpace
from mmhybrid.space.choice import Choice, Fact, Rule
from mmhybrid.space.efficientnet_lite import EfficientNetLiteSpace
from mmhybrid.space.elastic import ElasticSpace
from mmhybrid.space.glit import GLiTSpace
from mmhybrid.space.glnet import GLNetSpace
from mmhybrid.space.whole_model import WholeModelSpace

__all__ = [
    'Arch',
    'AutoViTSpace',
    'Choice',
    'EfficientNetLiteSpace',
    'ElasticSpace',
    'Fact',
    'GLNetSpace',
    'GLiTSpace',
    'Rule',
    'SearchSpace',
    'Value',
    'WholeModelSpace',
]
