"""The space of GLiT (table 2): how each block's heads are split, and the sizes of what they are split into."""

from collections.abc import Sequence
from typing import Any

from mmhybrid.space.arch import Arch, Value
from mmhybrid.space.base import Restriction, SearchSpace
from mmhybrid.space.choice import Choice, Rule
from mmhybrid.utils.checks import bad_value, check_choice, check_int, check_list

LOW_LEVEL: dict[str, tuple[Value, ...]] = {
    'mlp_ratio': (2, 4, 6),
    'qkv_ratio': (0.5, 1, 2),
    'conv_ratio': (1, 2, 4),
    'kernel_size': (17, 31, 45),
}
# The first stage's fixed low level: attention and convolution blocks then cost about the same.
FIXED_LOW_LEVEL: dict[str, Value] = {'mlp_ratio': 4, 'qkv_ratio': 1, 'conv_ratio': 2, 'kernel_size': 31}
LEVELS = ('flat', 'distribution', 'detail', 'attention')


class GLiTSpace(SearchSpace):
    """GLiT's blocks.

    Genes ``blocks.<i>.num_attn_heads`` (0, N/3, 2N/3 or N of N heads; the others are convolutional),
    ``.mlp_ratio``, with attention heads ``.qkv_ratio``, with convolution heads ``.conv_ratio`` and ``.kernel_size``.

    Args:
        embed_dims: Width, a multiple of ``num_heads``.
        num_heads: Heads N of a block, a multiple of 3.
        num_blocks: Blocks.
        level: ``flat`` opens all of table 2. ``distribution``, the first stage of the hierarchical search, opens
            ``num_attn_heads`` alone, the others stay at :data:`FIXED_LOW_LEVEL`. ``detail``, the second stage, opens
            what a block's distribution leaves open: qkv and MLP ratio of all-attention blocks, kernel and expansion
            of all-convolution blocks, expansion and MLP ratio of mixed blocks; give it the distribution that the
            first stage found. ``attention`` is the "NLP-NAS" baseline: attention blocks, qkv and MLP ratio.
        distribution: Attention heads of each block; short for restricting each ``num_attn_heads`` to one value.
        restrict: See :meth:`SearchSpace.restrict`.

    Raises:
        ValueError: Naming the argument, the value and what is allowed.
    """

    def __init__(
        self,
        embed_dims: int = 192,
        num_heads: int = 3,
        num_blocks: int = 12,
        level: str = 'flat',
        distribution: Sequence[int] | None = None,
        restrict: Restriction | None = None,
    ) -> None:
        if check_int('num_heads', num_heads, 3) % 3:
            raise bad_value('num_heads', num_heads, 'a multiple of 3')
        if check_int('embed_dims', embed_dims, 1) % num_heads:
            raise bad_value('embed_dims', embed_dims, f'a multiple of num_heads = {num_heads}')
        check_int('num_blocks', num_blocks, 1)
        check_choice('level', level, LEVELS)
        if distribution is not None:
            heads = check_list('distribution', distribution, num_blocks)
            restrict = {**(restrict or {}), **{f'blocks.{i}.num_attn_heads': n for i, n in enumerate(heads)}}
        self.embed_dims, self.num_heads, self.num_blocks = embed_dims, num_heads, num_blocks
        super().__init__(
            [choice for i in range(num_blocks) for choice in _block(f'blocks.{i}', num_heads, level)],
            {'embed_dims': embed_dims, 'num_heads': num_heads, 'num_blocks': num_blocks, 'level': level},
            restrict,
        )

    def _decode(self, arch: Arch) -> dict[str, Any]:
        blocks: list[dict[str, Value]] = [{} for _ in range(self.num_blocks)]
        for name, value in arch.items():
            _, index, field = name.split('.')
            blocks[int(index)][field] = value
        return {'arch': {'embed_dims': self.embed_dims, 'num_heads': self.num_heads, 'blocks': blocks}}


def _block(block: str, num_heads: int, level: str) -> list[Choice]:
    third = num_heads // 3
    # Halves of a width need fewer weights than the whole, and a convolution head more than an attention head.
    splits = (num_heads,) if level == 'attention' else (2 * third, third, num_heads, 0)
    heads = f'{block}.num_attn_heads'
    has_effect = {
        'qkv_ratio': Rule((heads,), lambda attention: attention > 0),
        'conv_ratio': Rule((heads,), lambda attention: attention < num_heads),
        'kernel_size': Rule((heads,), lambda attention: attention < num_heads),
    }

    def is_mixed(attention: int) -> bool:
        return 0 < attention < num_heads

    # at its fixed value in the second stage
    is_closed = {
        'mlp_ratio': lambda attention: attention == 0,
        'qkv_ratio': is_mixed,
        'conv_ratio': lambda attention: False,
        'kernel_size': is_mixed,
    }

    def low_level(field: str) -> Choice:
        fixed = FIXED_LOW_LEVEL[field]
        values = (fixed,) if level == 'distribution' else LOW_LEVEL[field]
        limit = Rule((heads,), lambda value, attention: value == fixed or not is_closed[field](attention))
        return Choice(f'{block}.{field}', values, has_effect.get(field), limit if level == 'detail' else None)

    return [Choice(heads, splits), *(low_level(field) for field in LOW_LEVEL)]
