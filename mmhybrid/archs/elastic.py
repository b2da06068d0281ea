"""The architecture of an elastic network of another library: its depths, kernel sizes and hidden channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import Self

from mmhybrid.archs.base import MOST_LAYERS, Block, Column, Diagram, NetworkArch, check_odd
from mmhybrid.utils.checks import check_int, check_keys, check_list

MOST_STAGES = 100

# Number of blocks of each stage and number of channels of the first stage, from ConvNeXt (Liu et al., 2022, section 2)
# and ConvNeXt V2 (Woo et al., 2023, section 4). Each later stage has twice the channels of the one before. A block has
# four times as many hidden channels as channels, and all kernels have size 7.
_CONVNEXT: dict[str, tuple[tuple[int, ...], int]] = {
    'atto': ((2, 2, 6, 2), 40),
    'femto': ((2, 2, 6, 2), 48),
    'pico': ((2, 2, 6, 2), 64),
    'nano': ((2, 2, 8, 2), 80),
    'tiny': ((3, 3, 9, 3), 96),
    'small': ((3, 3, 27, 3), 96),
    'base': ((3, 3, 27, 3), 128),
    'large': ((3, 3, 27, 3), 192),
    'xlarge': ((3, 3, 27, 3), 256),
    'huge': ((3, 3, 27, 3), 352),
}
PRESETS: dict[str, dict[str, Any]] = {
    f'convnext-{name}': {
        'depths': list(depths),
        'kernel_sizes': [7] * len(depths),
        'hidden_widths': [4 * width * 2**stage for stage in range(len(depths))],
    }
    for name, (depths, width) in _CONVNEXT.items()
}


@dataclass(frozen=True)
class ElasticArch(NetworkArch):
    """The part of a network that an :class:`mmhybrid.models.backbones.adapter.Adapter` keeps, stage by stage.

    Args:
        depths: Number of leading blocks that each stage keeps.
        kernel_sizes: Odd kernel size of each block, stage by stage; empty for a stage whose blocks keep theirs. A
            mapping may name one value for all blocks of a stage, here and in ``hidden_widths``.
        hidden_widths: Number of leading hidden channels that each block keeps, stage by stage; empty for a stage whose
            blocks keep all.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    depths: tuple[int, ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    hidden_widths: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """Return the architecture that a mapping describes; ``kernel_sizes`` and ``hidden_widths`` are optional."""
        check_keys('Elastic arch', raw, ('depths',), ('kernel_sizes', 'hidden_widths'))
        listed = check_list('arch.depths', raw['depths'])
        check_int('number of arch.depths', len(listed), 1, MOST_STAGES)
        depths = tuple(check_int('arch.depths', value, 1, MOST_LAYERS) for value in listed)

        def blocks(field: str) -> list[list[Any]]:
            """Return the values of each stage's blocks."""
            stages = check_list(f'arch.{field}', raw.get(field, [[]] * len(depths)), len(depths))
            repeated = [
                list(values) if isinstance(values, list | tuple) else [values] * depth
                for values, depth in zip(stages, depths, strict=True)
            ]
            return [
                check_list(f'arch.{field}', values, depth) if values else []
                for values, depth in zip(repeated, depths, strict=True)
            ]

        return cls(
            depths=depths,
            kernel_sizes=tuple(
                tuple(check_odd('arch.kernel_sizes', size) for size in stage) for stage in blocks('kernel_sizes')
            ),
            hidden_widths=tuple(
                tuple(check_int('arch.hidden_widths', width, 1) for width in stage) for stage in blocks('hidden_widths')
            ),
        )

    def diagram(self) -> Diagram:
        """Return a diagram with a column for each stage and a block for each of its blocks."""
        columns = []
        for i, (depth, kernels, widths) in enumerate(
            zip(self.depths, self.kernel_sizes, self.hidden_widths, strict=True), start=1
        ):
            blocks = []
            for j in range(depth):
                told = [f'kernel {kernels[j]}'] if kernels else []
                told += [f'{widths[j]} hidden channels'] if widths else []
                title = f'stage {i}, block {j + 1}: {", ".join(told) or "as in the network"}'
                blocks.append(Block(title, widths[j] if widths else 1, 1))
            sizes = {'blocks': f'{depth}'}
            sizes |= {'kernel': _listed(kernels)} if kernels else {}
            sizes |= {'hidden': _listed(widths)} if widths else {}
            columns.append(Column(f'{i}', tuple(blocks), sizes))
        return Diagram('Elastic network', 'stage', tuple(columns))


def _listed(values: tuple[int, ...]) -> str:
    """Return the different values of a stage's blocks as text, in ascending order."""
    return ', '.join(f'{value}' for value in sorted(set(values)))
