"""The parts that a network's cost is the sum of.

A part is what a few genes, the width of its input and the size of its map determine: a stem, an inverted residual, the
attention of a transformer layer. Its key says all of that, so parts of equal keys cost the same wherever they stand:
in another network, or a second time in this one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from mmhybrid.models.backbones.autovit import POOL_RATIO, TRANSFORMER_STRIDES, channels_of
from mmhybrid.utils.checks import bad_value

Config = Mapping[str, Any]
Pieces = tuple[tuple[Any, ...], ...]


class Part(NamedTuple):
    """A part of a network.

    Args:
        key: Its kind, then what determines its cost, as text.
        copies: How often the network has it.
        pieces: Where to find it once: the name of a module or parameter in the backbone, then the shapes of the
            module's inputs without the batch axis. Without shapes only its parameters count; a name that the backbone
            lacks costs nothing (an output norm, say).
    """

    key: str
    copies: int
    pieces: Pieces

    @property
    def kind(self) -> str:
        """The first word of the key."""
        return self.key.partition(' ')[0]

    @property
    def sizes(self) -> dict[str, float]:
        """The numbers of the key by name, fractions (``heads=1/3``) as what they come to.

        Raises:
            ValueError: If what stands behind a ``=`` is no number.
        """
        words = (word.partition('=') for word in self.key.split())
        return {name: self._number(text) for name, equals, text in words if equals}

    def _number(self, text: str) -> float:
        numerator, _, denominator = text.partition('/')
        try:
            return float(numerator) / float(denominator or 1)
        except (ValueError, ZeroDivisionError):
            raise bad_value(f'part "{self.key}"', text, 'a number or a fraction of numbers') from None


@dataclass(frozen=True)
class FamilyParts:
    """What costs need to know of a family of backbones.

    Args:
        list_parts: From the backbone's config without what the space decides, the arch as the space decodes it, and the
            image's side in pixels, to the parts of the backbone.
        out_width: From this config and this arch to the channels of the last output, which a classifier takes.
    """

    list_parts: Callable[[Config, Config, int], Iterator[Part]]
    out_width: Callable[[Config, Config], int]


def family_of(backbone: Config) -> FamilyParts:
    """The family of a backbone's config.

    Raises:
        ValueError: If the parts of this type of backbone are not known.
    """
    name = str(backbone.get('type')).removeprefix('mmhybrid.')
    if name not in FAMILIES:
        raise bad_value('backbone.type', backbone.get('type'), f'one of {sorted(FAMILIES)}')
    return FAMILIES[name]


def head_part(in_width: int, num_classes: int) -> Part:
    """The linear classifier, which is no part of the backbone."""
    return Part(f'head in={in_width} classes={num_classes}', 1, ())


def autovit_out_width(backbone: Config, arch: Config) -> int:
    """AutoViT: the channels of the last stage, as many times as MBPool concatenates."""
    return channels_of(arch['embed_dims'][-1]) * (POOL_RATIO if backbone.get('mbpool', True) else 1)


def glit_out_width(backbone: Config, arch: Config) -> int:
    """GLiT: the width of its tokens."""
    return int(arch['embed_dims'])


def glnet_out_width(backbone: Config, arch: Config) -> int:
    """GLNet: the width of the last stage."""
    return int(arch['embed_dims'][-1])


def autovit_parts(backbone: Config, arch: Config, side: int) -> Iterator[Part]:
    """AutoViT: stem, inverted residuals, and of each transformer stage its convolutions, attentions and MLPs."""
    width = arch['stem_width']
    size = (side + 1) // 2
    plain = ' plain' if arch.get('transformer_only') else ''
    yield Part(f'stem width={width} side={side}', 1, (('stem', (backbone.get('in_channels', 3), side, side)),))
    depths = arch.get('conv_depths', (1, 1, 1))
    kernels = arch.get('conv_kernels', (3, 3, 3))
    for i, out in enumerate(arch['conv_widths']):
        path = f'conv_stages.{i}'
        kernel = kernels[i]
        pieces: Pieces = ((f'{path}.0', (width, size, size)),)
        if i == 1:
            pieces += (('out_norms.0',),)
        yield Part(f'conv{i}{plain} in={width} out={out} kernel={kernel} side={size}', 1, pieces)
        width = out
        size = size if i == 0 else (size + 1) // 2
        if depths[i] > 1:
            piece = (f'{path}.1', (width, size, size))
            yield Part(f'conv in={width} out={out} kernel={kernel} side={size}', depths[i] - 1, (piece,))
    for i, hidden in enumerate(arch['embed_dims']):
        path = f'transformer_stages.{i}'
        out = channels_of(hidden)
        before = (width, size, size)
        size = -(-size // TRANSFORMER_STRIDES[i])
        after = (out, size, size)
        tokens = (4, ((size + 1) // 2) ** 2, hidden)
        pieces = (
            (f'{path}.down', before),
            (f'{path}.local', after),
            (f'{path}.proj_in', after),
            (f'{path}.norm', tokens),
            (f'{path}.proj_out', (hidden, size, size)),
            (f'{path}.fuse', (2 * out, size, size)),
        )
        if i < 2:
            pieces += ((f'out_norms.{i + 1}',),)
        yield Part(f'stage{i}{plain} in={width} d={hidden} side={size}', 1, pieces)
        layer = f'{path}.layers.0'
        depth, heads, ratio = (arch[name][i] for name in ('depths', 'num_heads', 'mlp_ratios'))
        pieces = ((f'{layer}.norm1', tokens), (f'{layer}.attention', tokens))
        yield Part(f'attention d={hidden} heads={heads} side={size}', depth, pieces)
        pieces = ((f'{layer}.norm2', tokens), (f'{layer}.mlp', tokens))
        yield Part(f'mlp d={hidden} ratio={float(ratio)} side={size}', depth, pieces)
        width = out
    yield Part(f'pool in={width} side={size}', 1, (('mbpool', (width, size, size)), ('out_norms.3',)))


def glit_parts(backbone: Config, arch: Config, side: int) -> Iterator[Part]:
    """GLiT: stem, and of each block its attention heads, local heads and FFN."""
    width = arch['embed_dims']
    all_heads = arch['num_heads']
    patch_size = backbone.get('patch_size', 16)
    patches = -(-side // patch_size)
    locality = arch.get('locality', 'conv1d')
    length = (locality != 'conv2d') + patches**2  # heads on the map go without class token
    padded = patches * patch_size
    stem = ('patch_embed', (backbone.get('in_channels', 3), padded, padded))
    pieces = (stem, ('cls_token',), ('pos_embed',), ('norm', (length, width)), ('out_norms',))
    yield Part(f'stem width={width} side={side}', 1, pieces)
    for i, block in enumerate(arch['blocks']):
        genes = (block.get(name) for name in ('num_attn_heads', 'mlp_ratio', 'qkv_ratio', 'conv_ratio', 'kernel_size'))
        yield from _glit_block(f'blocks.{i}', locality, patches, length, width, all_heads, *genes)


@lru_cache(maxsize=10_000)
def _glit_block(
    path: str,
    locality: str,
    patches: int,
    length: int,
    width: int,
    all_heads: int,
    heads: int,
    mlp_ratio: float,
    qkv_ratio: float | None,
    conv_ratio: float | None,
    kernel: int | None,
) -> tuple[Part, ...]:
    parts = []
    tokens = (length, width)
    attn_dims = heads * (width // all_heads)
    if qkv_ratio is not None:
        key = f'attention d={width} heads={heads}/{all_heads} ratio={float(qkv_ratio)} length={length}'
        parts.append(Part(key, 1, ((f'{path}.mixer.attention', (length, attn_dims)),)))
    if conv_ratio is not None:
        split, ratio = f'heads={all_heads - heads}/{all_heads}', float(conv_ratio)
        kind = 'conv' if locality == 'conv1d' else locality
        key = f'{kind} d={width} {split} ratio={ratio} kernel={kernel} length={length}'
        places = (patches, patches) if locality == 'conv2d' else (length,)
        parts.append(Part(key, 1, ((f'{path}.mixer.conv', (*places, width - attn_dims)),)))
    pieces = ((f'{path}.norm1', tokens), (f'{path}.norm2', tokens), (f'{path}.ffn', tokens))
    return (*parts, Part(f'ffn d={width} ratio={float(mlp_ratio)} length={length}', 1, pieces))


def glnet_parts(backbone: Config, arch: Config, side: int) -> Iterator[Part]:
    """GLNet: down-sampling, and of each stage's blocks the position encodings, the branches of the mixers, the FFNs."""
    width = backbone.get('in_channels', 3)
    size = side
    overlapped = arch['overlapped_patches']
    layout = 'overlapped' if overlapped else 'patches'
    for i, out in enumerate(arch['embed_dims']):
        path = f'stages.{i}'
        step = 4 if i == 0 else 2
        before = (width, size, size)
        size = -(-size // step) if overlapped else size // step
        pieces: Pieces = ((f'downsamplers.{i}', before), (f'out_norms.{i}',))
        if i == 3:
            pieces += (('norm', (out, size, size)),)
        yield Part(f'down{i} {layout} in={width} out={out} side={size}', 1, pieces)
        width = out
        pixels = (out, size, size)
        depth, mixers, kernel, slots = (arch[name][i] for name in ('depths', 'mixers', 'local_kernels', 'num_slots'))
        glmix, mhsa, local = (mixers.count(name) for name in ('glmix', 'mhsa', 'local'))
        if glmix or local:
            first = mixers.index('local') if not glmix else mixers.index('glmix')
            pieces = ((f'{path}.{first}.mixer.local', pixels),)
            yield Part(f'local width={width} kernel={kernel} side={size}', glmix + local, pieces)
        if glmix:
            pieces = ((f'{path}.{mixers.index("glmix")}.mixer.slots', pixels, (slots, width)),)
            yield Part(f'slots width={width} slots={slots} side={size}', glmix, pieces)
        if mhsa:
            pieces = ((f'{path}.{mixers.index("mhsa")}.mixer', pixels, pixels),)
            yield Part(f'mhsa width={width} side={size}', mhsa, pieces)
        if arch['pos_encoding']:
            yield Part(f'position width={width} side={size}', depth, ((f'{path}.0.pos_conv', pixels),))
        ratio = float(arch['ffn_ratios'][i])
        block = f'{path}.0'
        kind = 'conv-ffn' if arch['conv_ffn'] else 'ffn'
        pieces = ((f'{block}.norm1', pixels), (f'{block}.norm2', pixels), (f'{block}.ffn', pixels))
        yield Part(f'{kind} width={width} ratio={ratio} side={size}', depth, pieces)


# By the type of the backbone; a family of your own is one more entry.
FAMILIES: dict[str, FamilyParts] = {
    'AutoViT': FamilyParts(autovit_parts, autovit_out_width),
    'GLiT': FamilyParts(glit_parts, glit_out_width),
    'GLNet': FamilyParts(glnet_parts, glnet_out_width),
}
