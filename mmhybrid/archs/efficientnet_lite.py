"""The architecture of an EfficientNet-Lite, and its published networks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import Self

from mmhybrid.archs.base import MOST_LAYERS, Block, Column, Diagram, NetworkArch, check_odd, check_ratio
from mmhybrid.utils.checks import check_int, check_keys, check_list

NUM_STAGES = 7
# A block with this ratio has no layer that expands its channels.
NO_EXPANSION = 1

_KERNELS = [3, 3, 5, 3, 5, 5, 3]
_RATIOS = [NO_EXPANSION, 6, 6, 6, 6, 6, 6]
# The stem, the head, and the depths of the first and the last stage are the same in all sizes.
_COMMON = {'stem_width': 32, 'kernel_sizes': _KERNELS, 'expand_ratios': _RATIOS, 'head_width': 1280}
PRESETS: dict[str, dict[str, Any]] = {
    'lite0': {**_COMMON, 'embed_dims': [16, 24, 40, 80, 112, 192, 320], 'depths': [1, 2, 2, 3, 3, 4, 1]},
    'lite1': {**_COMMON, 'embed_dims': [16, 24, 40, 80, 112, 192, 320], 'depths': [1, 3, 3, 4, 4, 5, 1]},
    'lite2': {**_COMMON, 'embed_dims': [16, 24, 48, 88, 120, 208, 352], 'depths': [1, 3, 3, 4, 4, 5, 1]},
    'lite3': {**_COMMON, 'embed_dims': [24, 32, 48, 96, 136, 232, 384], 'depths': [1, 3, 3, 5, 5, 6, 1]},
    'lite4': {**_COMMON, 'embed_dims': [24, 32, 56, 112, 160, 272, 448], 'depths': [1, 4, 4, 6, 6, 8, 1]},
}


@dataclass(frozen=True)
class EfficientNetLiteArch(NetworkArch):
    """The architecture of an EfficientNet-Lite, stage by stage.

    Args:
        stem_width: Channels of the stem.
        embed_dims: Channels of the seven stages.
        depths: Blocks of each stage.
        kernel_sizes: Odd kernel size of the depth-wise convolution of each block, stage by stage. A mapping may name
            one value for all blocks of a stage, here and in ``expand_ratios``.
        expand_ratios: Ratio of hidden to input channels of each block, stage by stage; a block of ratio 1 does not
            expand.
        head_width: Channels of the convolution in front of the classifier.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    stem_width: int
    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    expand_ratios: tuple[tuple[float, ...], ...]
    head_width: int

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """Return the architecture that a mapping describes, which must have all fields."""
        fields = ('stem_width', 'embed_dims', 'depths', 'kernel_sizes', 'expand_ratios', 'head_width')
        check_keys('EfficientNetLite arch', raw, fields)

        def stages(field: str) -> list[Any]:
            return check_list(f'arch.{field}', raw[field], NUM_STAGES)

        stem_width = check_int('arch.stem_width', raw['stem_width'], 1)
        embed_dims = tuple(check_int('arch.embed_dims', value, 1) for value in stages('embed_dims'))
        depths = tuple(check_int('arch.depths', value, 1, MOST_LAYERS) for value in stages('depths'))

        def blocks(field: str) -> list[list[Any]]:
            """Return the values of each stage's blocks."""
            return [
                check_list(f'arch.{field}', values if isinstance(values, list | tuple) else [values] * depth, depth)
                for values, depth in zip(stages(field), depths, strict=True)
            ]

        kernels = (tuple(check_odd('arch.kernel_sizes', size) for size in stage) for stage in blocks('kernel_sizes'))
        ratios = (
            tuple(
                check_ratio('arch.expand_ratios', ratio, in_width if index == 0 else width)
                for index, ratio in enumerate(stage)
            )
            for stage, in_width, width in zip(
                blocks('expand_ratios'), (stem_width, *embed_dims), embed_dims, strict=False
            )
        )
        return cls(
            stem_width=stem_width,
            embed_dims=embed_dims,
            depths=depths,
            kernel_sizes=tuple(kernels),
            expand_ratios=tuple(ratios),
            head_width=check_int('arch.head_width', raw['head_width'], 1),
        )

    def diagram(self) -> Diagram:
        """Return a diagram with a column for the stem, each stage and the head, and a block for each MBConv."""
        stem, head = self.stem_width, self.head_width
        columns = [Column('stem', (Block(f'stem: convolution, {stem} channels', stem, 1),), {'width': f'{stem}'})]
        for i, (width, kernels, ratios) in enumerate(
            zip(self.embed_dims, self.kernel_sizes, self.expand_ratios, strict=True), start=1
        ):
            blocks = (
                Block(f'stage {i}, block {j}: MBConv, kernel {kernel}, expansion {ratio:g}, {width} channels', width, 1)
                for j, (kernel, ratio) in enumerate(zip(kernels, ratios, strict=True), start=1)
            )
            sizes = {'width': f'{width}', 'blocks': f'{len(kernels)}'}
            sizes |= {'kernel': _listed(kernels), 'expansion': _listed(ratios)}
            columns.append(Column(f'{i}', tuple(blocks), sizes))
        columns.append(Column('head', (Block(f'head: convolution, {head} channels', head, 1),), {'width': f'{head}'}))
        return Diagram('EfficientNet-Lite', 'stage', tuple(columns))


def _listed(values: tuple[float, ...]) -> str:
    """Return the different values of a stage's blocks as text, in ascending order."""
    return ', '.join(f'{value:g}' for value in sorted(set(values)))
