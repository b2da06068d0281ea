"""The architecture of an AutoViT, and its published networks.

The section "Where to add what" of docs/architecture.md says what else a new preset or field needs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import Self

from mmhybrid.archs.base import LARGEST, MOST_LAYERS, Block, Column, Diagram, NetworkArch, check_odd, check_ratio
from mmhybrid.utils.checks import bad_value, check_bool, check_int, check_keys, check_list

NUM_CONV_STAGES = 3
# Convolution stages have these values if an architecture does not say theirs.
DEFAULT_DEPTH = 1
DEFAULT_KERNEL = 3
MAX_STAGES = 5  # transformer stages

PRESETS: dict[str, dict[str, Any]] = {
    'xxs': {
        'stem_width': 24,
        'conv_widths': [24, 32, 48],
        'conv_depths': [1, 2, 2],
        'embed_dims': [48, 64, 80, 96, 112],
        'depths': [3, 3, 3, 3, 3],
        'num_heads': [3, 3, 3, 4, 2],
        'mlp_ratios': [2, 1.5, 2, 2, 2],
    },
    'xs': {
        'stem_width': 24,
        'conv_widths': [32, 48, 64],
        'conv_depths': [1, 2, 2],
        'embed_dims': [96, 120, 144, 168],
        'depths': [2, 2, 2, 2],
        'num_heads': [4, 6, 4, 4],
        'mlp_ratios': [1.5, 2, 2, 2],
    },
    's': {
        'stem_width': 24,
        'conv_widths': [32, 48, 64],
        'conv_depths': [1, 2, 2],
        'embed_dims': [128, 176, 224, 272],
        'depths': [2, 2, 2, 2],
        'num_heads': [9, 8, 8, 9],
        'mlp_ratios': [1.5, 2, 2, 1.5],
    },
}


def channels_of(embed_dims: int) -> int:
    """Return the channels outside a block of hidden width ``embed_dims``: the multiple of 16 nearest to d / sqrt(2)."""
    return max(16 * round(embed_dims / math.sqrt(2) / 16), 16)


@dataclass(frozen=True)
class AutoViTArch(NetworkArch):
    """The architecture of an AutoViT, stage by stage.

    Args:
        stem_width: Channels of the stem.
        conv_widths: Channels of the three MBConv stages.
        conv_depths: Layers of each MBConv stage.
        conv_kernels: Odd kernel size of the depth-wise convolution of each MBConv stage.
        embed_dims: Hidden width d of each of the 3 to 5 transformer stages.
        depths: Layers of each transformer stage.
        num_heads: Heads of each transformer stage; a head has 16 channels for any d.
        mlp_ratios: Ratio of the hidden width of the MLP to d, for each transformer stage.
        transformer_only: Whether the network is the ablation of table 7, in which one strided convolution replaces each
            MBConv stage and point-wise convolutions replace the blocks' 3x3 convolutions. ``conv_depths`` and
            ``conv_kernels`` then have no meaning.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    stem_width: int
    conv_widths: tuple[int, ...]
    conv_depths: tuple[int, ...]
    conv_kernels: tuple[int, ...]
    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    mlp_ratios: tuple[float, ...]
    transformer_only: bool = False

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """Return the architecture that a mapping describes.

        ``conv_kernels`` (3 by default) and ``transformer_only`` (False by default) are optional.
        """
        transformer_only = check_bool('arch.transformer_only', raw.get('transformer_only', False))
        required = ('stem_width', 'conv_widths', 'embed_dims', 'depths', 'num_heads', 'mlp_ratios')
        if transformer_only:
            check_keys('AutoViT arch', raw, required, ('transformer_only',))
            raw = {**raw, 'conv_depths': [DEFAULT_DEPTH] * NUM_CONV_STAGES}
        else:
            check_keys('AutoViT arch', raw, (*required, 'conv_depths'), ('conv_kernels', 'transformer_only'))
        num_stages = len(check_list('arch.embed_dims', raw['embed_dims']))
        if not 3 <= num_stages <= MAX_STAGES:
            raise bad_value('arch.embed_dims', raw['embed_dims'], '3, 4 or 5 transformer stages')

        def ints(field: str, length: int, high: int = LARGEST) -> tuple[int, ...]:
            values = check_list(f'arch.{field}', raw[field], length)
            return tuple(check_int(f'arch.{field}', value, 1, high) for value in values)

        raw = {'conv_kernels': [DEFAULT_KERNEL] * NUM_CONV_STAGES, **raw}
        kernels = check_list('arch.conv_kernels', raw['conv_kernels'], NUM_CONV_STAGES)
        embed_dims = ints('embed_dims', num_stages)
        ratios = check_list('arch.mlp_ratios', raw['mlp_ratios'], num_stages)
        return cls(
            stem_width=check_int('arch.stem_width', raw['stem_width'], 1),
            conv_widths=ints('conv_widths', NUM_CONV_STAGES),
            conv_depths=ints('conv_depths', NUM_CONV_STAGES, MOST_LAYERS),
            conv_kernels=tuple(check_odd('arch.conv_kernels', kernel) for kernel in kernels),
            embed_dims=embed_dims,
            depths=ints('depths', num_stages, MOST_LAYERS),
            num_heads=ints('num_heads', num_stages, MOST_LAYERS),
            mlp_ratios=tuple(
                check_ratio('arch.mlp_ratios', ratio, width) for ratio, width in zip(ratios, embed_dims, strict=True)
            ),
            transformer_only=transformer_only,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON, without those that have no meaning for this network."""
        described = super().to_dict()
        for name in ('conv_depths', 'conv_kernels') if self.transformer_only else ('transformer_only',):
            del described[name]
        return described

    def diagram(self) -> Diagram:
        """Return a diagram with a column for the stem and each stage, and a block for each MBConv or transformer layer.

        It leaves out the convolutions in transformer stages, because they have no choices.
        """
        stem = self.stem_width
        layer = 'convolution' if self.transformer_only else 'MBConv'
        columns = [Column('stem', (Block(f'stem: convolution, {stem} channels', stem, 1),), {'width': f'{stem}'})]
        convs = zip(self.conv_widths, self.conv_depths, self.conv_kernels, strict=True)
        for i, (width, depth, kernel) in enumerate(convs, start=1):
            block = Block(f'convolution stage {i}: {layer}, kernel {kernel}, {width} channels', width, 1)
            sizes = {'width': f'{width}', 'layers': f'{depth}', 'kernel': f'{kernel}'}
            columns.append(Column(f'conv {i}', (block,) * depth, sizes))
        fields = zip(self.embed_dims, self.depths, self.num_heads, self.mlp_ratios, strict=True)
        for i, (width, depth, heads, ratio) in enumerate(fields, start=1):
            title = f'transformer stage {i}: attention of {heads} heads, MLP ratio {ratio:g}, {width} channels'
            sizes = {'width': f'{width}', 'layers': f'{depth}', 'heads': f'{heads}', 'MLP ratio': f'{ratio:g}'}
            columns.append(Column(f'transformer {i}', (Block(title, width, 0),) * depth, sizes))
        return Diagram('AutoViT', 'stage', tuple(columns))
