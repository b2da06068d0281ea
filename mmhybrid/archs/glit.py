"""The architecture of a GLiT, and its published networks.

The section "Where to add what" of docs/architecture.md says what else a new preset or field needs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar

from typing_extensions import Self

from mmhybrid.archs.base import LARGEST, MOST_LAYERS, Block, Column, Diagram, NetworkArch, check_odd, check_ratio
from mmhybrid.utils.checks import bad_value, check_choice, check_int, check_keys, check_list

# The kinds of local heads: a convolution over the sequence, and from table 6 a convolution over the map, and attention
# within windows of tokens. Each kind has the check of its ``kernel_size``.
LOCALITIES: dict[str, Callable[[str, object], int]] = {
    'conv1d': check_odd,
    'conv2d': check_odd,
    'window': partial(check_int, low=1, high=LARGEST),
}


def decode_block(num_attn_heads: int, num_heads: int, index: int) -> dict[str, Any]:
    """Return the block that an index in the released code describes.

    The indices of all-attention blocks enumerate qkv_ratio x mlp_ratio, those of all-convolution blocks kernel_size x
    conv_ratio, and those of mixed blocks conv_ratio x mlp_ratio; the last factor varies fastest (table 2 and the
    released code).
    """
    first, second = divmod(index, 3)
    sizes = (2, 4, 6)
    if num_attn_heads == num_heads:
        return {'num_attn_heads': num_attn_heads, 'mlp_ratio': sizes[second], 'qkv_ratio': (0.5, 1, 2)[first]}
    if num_attn_heads == 0:
        conv = {'conv_ratio': (1, 2, 4)[second], 'kernel_size': (17, 31, 45)[first]}
        return {'num_attn_heads': 0, 'mlp_ratio': 4, **conv}
    conv = {'conv_ratio': (1, 2, 4)[first], 'kernel_size': 31}
    return {'num_attn_heads': num_attn_heads, 'mlp_ratio': sizes[second], 'qkv_ratio': 1, **conv}


def _preset(embed_dims: int, num_heads: int, attn_thirds: Sequence[int], indices: Sequence[int]) -> dict[str, Any]:
    blocks = [
        decode_block(thirds * num_heads // 3, num_heads, index)
        for thirds, index in zip(attn_thirds, indices, strict=True)
    ]
    return {'embed_dims': embed_dims, 'num_heads': num_heads, 'blocks': blocks}


# The attention heads of each block are given in thirds of all heads (figure 5).
_DISTRIBUTION = (3, 0, 1, 3, 0, 1, 3, 1, 0, 3, 0, 3)
# The detail of small and base was never published. Ours lies in the search space, has tiny's distribution, and has the
# published parameters and FLOPs. The FLOPs follow the released code's formula, which counts the convolution before the
# GLU once.
PRESETS: dict[str, dict[str, Any]] = {
    'tiny': _preset(192, 3, _DISTRIBUTION, (1, 4, 8, 4, 8, 8, 3, 6, 8, 4, 5, 8)),
    'small': _preset(384, 6, _DISTRIBUTION, (0, 7, 8, 0, 2, 8, 2, 6, 8, 3, 7, 6)),
    'base': _preset(768, 12, _DISTRIBUTION, (0, 4, 2, 0, 2, 2, 2, 6, 5, 0, 5, 5)),
}


@dataclass(frozen=True)
class GLiTBlockArch:
    """The architecture of one block: the split of its heads, and the sizes of its parts.

    Args:
        num_attn_heads: Number G of attention heads; the other heads are local.
        mlp_ratio: Ratio of the hidden width of the FFN to the embedding width (d_z).
        qkv_ratio: Ratio of the width of queries, keys and values to the channels of the attention heads (d_k); None
            without attention heads.
        conv_ratio: Expansion E of the convolution heads; None without them.
        kernel_size: Kernel size K of their depth-wise convolution; None without them.
    """

    num_attn_heads: int
    mlp_ratio: float
    qkv_ratio: float | None = None
    conv_ratio: float | None = None
    kernel_size: int | None = None


_BLOCK_FIELDS = tuple(field.name for field in fields(GLiTBlockArch))


@dataclass(frozen=True)
class GLiTArch(NetworkArch):
    """The architecture of a GLiT.

    Args:
        embed_dims: Width, a multiple of ``num_heads``.
        num_heads: Heads of each block.
        blocks: Architectures of the blocks. In a mapping, each is a mapping with ``num_attn_heads`` and ``mlp_ratio``,
            with ``qkv_ratio`` if it has attention heads, and with ``conv_ratio`` and ``kernel_size`` if it has local
            heads.
        locality: Kind of the local heads, a name of :data:`LOCALITIES`.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    embed_dims: int
    num_heads: int
    blocks: tuple[GLiTBlockArch, ...]
    locality: str = 'conv1d'

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """Return the architecture that a mapping describes; ``locality`` is optional."""
        check_keys('GLiT arch', raw, ('embed_dims', 'num_heads', 'blocks'), ('locality',))
        locality = check_choice('arch.locality', raw.get('locality', 'conv1d'), tuple(LOCALITIES))
        num_heads = check_int('arch.num_heads', raw['num_heads'], 1, MOST_LAYERS)
        embed_dims = check_int('arch.embed_dims', raw['embed_dims'], 1)
        if embed_dims % num_heads:
            raise bad_value('arch.embed_dims', embed_dims, f'a multiple of num_heads = {num_heads}')
        blocks = check_list('arch.blocks', raw['blocks'])
        if not blocks:
            raise bad_value('arch.blocks', blocks, 'at least one block')
        head_dim = embed_dims // num_heads
        parsed = tuple(
            _read_block(f'arch.blocks[{i}]', block, num_heads, head_dim, LOCALITIES[locality])
            for i, block in enumerate(blocks)
        )
        return cls(embed_dims, num_heads, parsed, locality)

    @property
    def has_cls_token(self) -> bool:
        """Whether a class token stands in front of the patches; there is none if local heads see a map."""
        return self.locality != 'conv2d'

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON, with each block as a dict without the fields that it does not have."""
        blocks = [
            {name: value for name in _BLOCK_FIELDS if (value := getattr(block, name)) is not None}
            for block in self.blocks
        ]
        return {**super().to_dict(), 'blocks': blocks}

    def diagram(self) -> Diagram:
        """Return a diagram with a column for each block; heads that attend within windows count as local heads."""
        local, size = ('window', 'window') if self.locality == 'window' else ('conv', 'kernel')
        columns = []
        for i, block in enumerate(self.blocks, start=1):
            attention = block.num_attn_heads
            conv = self.num_heads - attention
            sizes = {
                'attention heads': f'{attention}',
                f'{local} heads': f'{conv}',
                'MLP ratio': f'{block.mlp_ratio:g}',
            }
            if attention:
                sizes['qkv ratio'] = f'{block.qkv_ratio:g}'
            if conv:
                sizes |= {f'{local} ratio': f'{block.conv_ratio:g}', size: f'{block.kernel_size}'}
            title = f'block {i}: {", ".join(f"{name} {text}" for name, text in sizes.items())}'
            columns.append(Column(f'{i}', (Block(title, self.embed_dims, conv / self.num_heads),), sizes))
        return Diagram(f'GLiT, {self.embed_dims} channels', 'block', tuple(columns))


def _read_block(
    field: str, raw: object, num_heads: int, head_dim: int, check_size: Callable[[str, object], int]
) -> GLiTBlockArch:
    attention, convolution = ('qkv_ratio',), ('conv_ratio', 'kernel_size')
    check_keys(field, raw, ('num_attn_heads', 'mlp_ratio'), attention + convolution)
    assert isinstance(raw, Mapping)
    num_attn_heads = check_int(f'{field}.num_attn_heads', raw['num_attn_heads'], 0, num_heads)
    needed = (attention if num_attn_heads else ()) + (convolution if num_attn_heads < num_heads else ())
    kind = f'{field} with {num_attn_heads} of {num_heads} attention heads'
    check_keys(kind, raw, ('num_attn_heads', 'mlp_ratio', *needed))
    qkv_ratio = conv_ratio = kernel_size = None
    if num_attn_heads:
        qkv_ratio = check_ratio(f'{field}.qkv_ratio', raw['qkv_ratio'], head_dim)
    if num_attn_heads < num_heads:
        conv_ratio = check_ratio(f'{field}.conv_ratio', raw['conv_ratio'], head_dim)
        kernel_size = check_size(f'{field}.kernel_size', raw['kernel_size'])
    mlp_ratio = check_ratio(f'{field}.mlp_ratio', raw['mlp_ratio'], num_heads * head_dim)
    return GLiTBlockArch(num_attn_heads, mlp_ratio, qkv_ratio, conv_ratio, kernel_size)
