"""The one module of this package that knows the registry, and with it MMEngine."""

from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import AutoViTSpace, EfficientNetLiteSpace, GLiTSpace, GLNetSpace

for _space in (AutoViTSpace, EfficientNetLiteSpace, GLiTSpace, GLNetSpace):
    SEARCH_SPACES.register_module(module=_space)
