"""Models: backbones, necks, heads, supernets and one-shot training.

Importing this package registers all models except those of the search.
"""

from importlib import import_module
from typing import Any

from mmhybrid.utils.optional import require

require('mmcv', 'mmhybrid')

from mmhybrid.models.backbones import AutoViT, EfficientNetLite, ElasticConvNeXt, GLiT, GLNet  # noqa: E402
from mmhybrid.models.heads import TokenLabelHead  # noqa: E402
from mmhybrid.models.necks import SimpleFeaturePyramid  # noqa: E402
from mmhybrid.models.packaged import load_from_package  # noqa: E402
from mmhybrid.models.resized_inputs import ResizedInputs  # noqa: E402
from mmhybrid.models.token_label_classifier import TokenLabelClassifier  # noqa: E402
from mmhybrid.registry import MODELS  # noqa: E402

__all__ = [
    'AutoViT',
    'EfficientNetLite',
    'ElasticConvNeXt',
    'GLNet',
    'GLiT',
    'ResizedInputs',
    'SimpleFeaturePyramid',
    'TokenLabelClassifier',
    'TokenLabelHead',
    'load_from_package',
]


def __getattr__(name: str) -> Any:
    """Return a component of the search, since pure-Python configs import these from here too."""
    if name in MODELS.of_search:
        return getattr(import_module(MODELS.of_search[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
