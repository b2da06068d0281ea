"""The architecture of a GLNet, and its published networks.

The section "Where to add what" of docs/architecture.md says what else a new preset or field needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import Self

from mmhybrid.archs.base import LARGEST, MOST_LAYERS, Block, Column, Diagram, NetworkArch, check_odd, check_ratio
from mmhybrid.utils.checks import bad_value, check_bool, check_choice, check_float, check_int, check_keys, check_list

HEAD_DIM = 32
NUM_STAGES = 4
DEFAULT_KERNEL = 5
DEFAULT_SLOTS = 64
# Each mixer has one or two branches: convolutions, attention in windows, slots, or attention over all pixels.
MIXERS = {
    'glmix': ('local', 'slots'),
    'mhsa': ('mhsa',),
    'local': ('local',),
    'global': ('slots',),
    'global-local': ('local', 'slots'),
    'local-global': ('local', 'slots'),
    'window-global': ('window', 'slots'),
}
LOCAL_BRANCHES = ('local', 'window')
FLAGS = ('learned_slots', 'fixed_scale', 'overlapped_patches', 'pos_encoding', 'conv_ffn')
# The title of a diagram names the flags that change the kinds of layers.
FLAG_WORDS = {
    'overlapped_patches': 'overlapped patches',
    'pos_encoding': 'position encoding',
    'conv_ffn': 'convolution in the FFN',
    'learned_slots': 'learned slots',
}

_HYBRID_STAGE_3 = ['glmix', 'mhsa'] * 9
_STL = {
    'embed_dims': [96, 192, 384, 768],
    'depths': [2, 2, 6, 2],
    'ffn_ratios': [4, 4, 4, 4],
    'mixers': ['glmix', 'glmix', 'glmix', 'mhsa'],
}
_ADVANCED = {
    'depths': [4, 4, 18, 4],
    'ffn_ratios': [3, 3, 3, 3],
    'mixers': ['glmix', 'glmix', _HYBRID_STAGE_3, 'mhsa'],
    'overlapped_patches': True,
    'pos_encoding': True,
    'conv_ffn': True,
}
PRESETS: dict[str, dict[str, Any]] = {
    'stl': _STL,
    'stl-paramslot': {**_STL, 'learned_slots': True},
    '4g': {**_ADVANCED, 'embed_dims': [64, 128, 256, 512]},
    '9g': {**_ADVANCED, 'embed_dims': [96, 192, 384, 768]},
    '16g': {**_ADVANCED, 'embed_dims': [128, 256, 512, 1024], 'layer_scale': 1e-4},
}


@dataclass(frozen=True)
class GLNetArch(NetworkArch):
    """The architecture of a GLNet, stage by stage.

    Args:
        embed_dims: Channels of the four stages, multiples of ``head_dim``.
        depths: Blocks of each stage.
        ffn_ratios: Ratio of the hidden width of the FFN to its input's, for each stage.
        mixers: Mixer of each block, stage by stage: ``glmix`` or ``mhsa``. Table 6 adds ``local`` (glmix without
            slots), ``global`` (glmix with an identity in place of the convolutions, as released), ``global-local`` and
            ``local-global`` (one branch behind the other), and ``window-global`` (attention in windows of 7x7 pixels as
            the local branch). A mapping may name one mixer for all blocks of a stage.
        local_kernels: Odd kernel size of the depth-wise convolution of glmix and local blocks, for each stage. A stage
            without such blocks has the default, here and in ``num_slots``, so that equal networks are equal
            architectures.
        num_slots: Number of slots of glmix and global blocks, a square, for each stage.
        head_dim: Channels of a head of any attention.
        learned_slots: Whether the slots start from learned values instead of a pooled map.
        fixed_scale: Whether the scale of the slots' cosine keeps its initial value instead of being learned.
        overlapped_patches: Whether 3x3 convolutions of stride 2 (two of them in the stem) replace the 4x4 and 2x2
            patches.
        pos_encoding: Whether a residual depth-wise 3x3 convolution stands in front of each mixer.
        conv_ffn: Whether the FFN has a residual depth-wise 3x3 convolution.
        layer_scale: Initial value of the layer scales; None for no layer scales.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    ffn_ratios: tuple[float, ...]
    mixers: tuple[tuple[str, ...], ...]
    local_kernels: tuple[int, ...] = (DEFAULT_KERNEL,) * NUM_STAGES
    num_slots: tuple[int, ...] = (DEFAULT_SLOTS,) * NUM_STAGES
    head_dim: int = HEAD_DIM
    learned_slots: bool = False
    fixed_scale: bool = False
    overlapped_patches: bool = False
    pos_encoding: bool = False
    conv_ffn: bool = False
    layer_scale: float | None = None

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """Return the architecture that a mapping describes; the fields after ``mixers`` are optional."""
        optional = ('local_kernels', 'num_slots', 'head_dim', 'layer_scale', *FLAGS)
        check_keys('GLNet arch', raw, ('embed_dims', 'depths', 'ffn_ratios', 'mixers'), optional)

        def stages(field: str) -> list[Any]:
            return check_list(f'arch.{field}', raw.get(field, getattr(cls, field, None)), NUM_STAGES)

        head_dim = check_int('arch.head_dim', raw.get('head_dim', HEAD_DIM), 1)
        embed_dims = tuple(check_int('arch.embed_dims', value, head_dim) for value in stages('embed_dims'))
        for width in embed_dims:
            if width % head_dim:
                raise bad_value('arch.embed_dims', width, f'a multiple of {head_dim}')
        kernels = tuple(check_odd('arch.local_kernels', value) for value in stages('local_kernels'))
        slots = tuple(check_int('arch.num_slots', value, 1, LARGEST) for value in stages('num_slots'))
        for count in slots:
            if round(count**0.5) ** 2 != count:
                raise bad_value('arch.num_slots', count, 'a square number')
        depths = tuple(check_int('arch.depths', value, 1, MOST_LAYERS) for value in stages('depths'))
        mixers = tuple(_stage_mixers(mixer, depth) for mixer, depth in zip(stages('mixers'), depths, strict=True))
        scale = raw.get('layer_scale')
        return cls(
            embed_dims=embed_dims,
            depths=depths,
            ffn_ratios=tuple(
                check_ratio('arch.ffn_ratios', ratio, width)
                for ratio, width in zip(stages('ffn_ratios'), embed_dims, strict=True)
            ),
            mixers=mixers,
            local_kernels=_where_read(kernels, mixers, 'local', DEFAULT_KERNEL),
            num_slots=_where_read(slots, mixers, 'slots', DEFAULT_SLOTS),
            head_dim=head_dim,
            layer_scale=None if scale is None else check_float('arch.layer_scale', scale, 0, above=True),
            **{flag: check_bool(f'arch.{flag}', raw.get(flag, False)) for flag in FLAGS},
        )

    def has_linear_ffns(self, stage: int) -> bool:
        """Return whether the released class builds the FFNs of a stage from linear layers, and initializes them so.

        It does so in stages of attention alone, unless position encoding or a convolutional FFN needs its other block.
        """
        return set(self.mixers[stage]) == {'mhsa'} and not (self.pos_encoding or self.conv_ffn)

    def diagram(self) -> Diagram:
        """Return a diagram with a column for each stage."""
        columns = []
        for i, mixers in enumerate(self.mixers):
            width = self.embed_dims[i]
            sizes = {'width': f'{width}', 'blocks': f'{len(mixers)}', 'FFN ratio': f'{self.ffn_ratios[i]:g}'}
            branches = {branch for mixer in mixers for branch in MIXERS[mixer]}
            if 'local' in branches:
                sizes['kernel'] = f'{self.local_kernels[i]}'
            if 'slots' in branches:
                sizes['slots'] = f'{self.num_slots[i]}'
            blocks = (
                Block(f'stage {i + 1}, block {j}: {mixer}, {width} channels', width, _local_share(mixer))
                for j, mixer in enumerate(mixers, start=1)
            )
            columns.append(Column(f'{i + 1}', tuple(blocks), sizes))
        title = ', '.join(['GLNet', *(words for flag, words in FLAG_WORDS.items() if getattr(self, flag))])
        return Diagram(title, 'stage', tuple(columns))


def _stage_mixers(mixers: object, depth: int) -> tuple[str, ...]:
    if isinstance(mixers, str):
        mixers = [mixers] * depth
    return tuple(
        check_choice('arch.mixers', mixer, tuple(MIXERS)) for mixer in check_list('arch.mixers', mixers, depth)
    )


def _where_read(
    sizes: tuple[int, ...], mixers: tuple[tuple[str, ...], ...], branch: str, default: int
) -> tuple[int, ...]:
    """Return the sizes of the stages in which a mixer has the branch, and the default for the other stages."""
    has_branch = (any(branch in MIXERS[mixer] for mixer in used) for used in mixers)
    return tuple(size if has else default for size, has in zip(sizes, has_branch, strict=True))


def _local_share(mixer: str) -> float:
    """Return the share of a mixer's branches that are local."""
    return sum(branch in LOCAL_BRANCHES for branch in MIXERS[mixer]) / len(MIXERS[mixer])
