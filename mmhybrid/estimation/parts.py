"""The parts that a network's cost is the sum of.

A part is what a few genes, the width of its input and the size of its map determine: a stem, an inverted residual, the
attention of a transformer layer. Its key says all of that, so parts of equal keys cost the same wherever they stand:
in another network, or a second time in this one.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
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
        """The numbers of the key by name, fractions (``heads=1/3``) as what they come to."""
        words = (word.partition('=') for word in self.key.split())
        return {name: _number(text) for name, equals, text in words if equals}


def _number(text: str) -> float:
    numerator, _, denominator = text.partition('/')
    return float(numerator) / float(denominator or 1)


def parts_of(backbone: Config) -> Callable[[Config, int], Iterator[Part]]:
    """The function from an arch, as the space decodes it, and the image's side in pixels to the parts of the backbone.

    Args:
        backbone: Config of a backbone without what the space decides.

    Raises:
        ValueError: If the parts of this type of backbone are not known.
    """
    name = str(backbone.get('type')).removeprefix('mmhybrid.')
    if name not in FAMILIES:
        raise bad_value('backbone.type', backbone.get('type'), f'one of {sorted(FAMILIES)}')
    return partial(FAMILIES[name], backbone)


def head_part(in_width: int, num_classes: int) -> Part:
    """The linear classifier, which is no part of the backbone."""
    return Part(f'head in={in_width} classes={num_classes}', 1, ())


def out_width(backbone: Config, arch: Config) -> int:
    """Channels of the last output, which the classifier takes."""
    widths = arch['embed_dims']
    if isinstance(widths, int):
        return widths
    if 'conv_widths' not in arch:
        return int(widths[-1])
    return channels_of(widths[-1]) * (POOL_RATIO if backbone.get('mbpool', True) else 1)


def autovit_parts(backbone: Config, arch: Config, side: int) -> Iterator[Part]:
    """AutoViT: stem, inverted residuals, and of each transformer stage its convolutions, attentions and MLPs."""
    width, size, plain = arch['stem_width'], (side + 1) // 2, ' plain' if arch.get('transformer_only') else ''
    yield Part(f'stem width={width} side={side}', 1, (('stem', (backbone.get('in_channels', 3), side, side)),))
    depths = arch.get('conv_depths', (1, 1, 1))
    kernels = arch.get('conv_kernels', (3, 3, 3))
    for i, out in enumerate(arch['conv_widths']):
        path, kernel = f'conv_stages.{i}', kernels[i]
        pieces: Pieces = ((f'{path}.0', (width, size, size)),)
        if i == 1:
            pieces += (('out_norms.0',),)
        yield Part(f'conv{i}{plain} in={width} out={out} kernel={kernel} side={size}', 1, pieces)
        width, size = out, size if i == 0 else (size + 1) // 2
        if depths[i] > 1:
            piece = (f'{path}.1', (width, size, size))
            yield Part(f'conv in={width} out={out} kernel={kernel} side={size}', depths[i] - 1, (piece,))
    for i, hidden in enumerate(arch['embed_dims']):
        path, out, before = f'transformer_stages.{i}', channels_of(hidden), (width, size, size)
        size = -(-size // TRANSFORMER_STRIDES[i])
        after, tokens = (out, size, size), (4, ((size + 1) // 2) ** 2, hidden)
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
        layer, depth, heads, ratio = f'{path}.layers.0', arch['depths'][i], arch['num_heads'][i], arch['mlp_ratios'][i]
        pieces = ((f'{layer}.norm1', tokens), (f'{layer}.attention', tokens))
        yield Part(f'attention d={hidden} heads={heads} side={size}', depth, pieces)
        pieces = ((f'{layer}.norm2', tokens), (f'{layer}.mlp', tokens))
        yield Part(f'mlp d={hidden} ratio={float(ratio)} side={size}', depth, pieces)
        width = out
    yield Part(f'pool in={width} side={size}', 1, (('mbpool', (width, size, size)), ('out_norms.3',)))


def glit_parts(backbone: Config, arch: Config, side: int) -> Iterator[Part]:
    """GLiT: stem, and of each block its attention heads, convolution heads and FFN."""
    width, all_heads, patch_size = arch['embed_dims'], arch['num_heads'], backbone.get('patch_size', 16)
    patches = -(-side // patch_size)
    length, padded = 1 + patches**2, patches * patch_size
    stem = ('patch_embed', (backbone.get('in_channels', 3), padded, padded))
    pieces = (stem, ('cls_token',), ('pos_embed',), ('norm', (length, width)), ('out_norms',))
    yield Part(f'stem width={width} side={side}', 1, pieces)
    for i, block in enumerate(arch['blocks']):
        genes = (block.get(name) for name in ('num_attn_heads', 'mlp_ratio', 'qkv_ratio', 'conv_ratio', 'kernel_size'))
        yield from _glit_block(f'blocks.{i}', length, width, all_heads, *genes)


@lru_cache(maxsize=10_000)
def _glit_block(
    path: str,
    length: int,
    width: int,
    all_heads: int,
    heads: int,
    mlp_ratio: float,
    qkv_ratio: float | None,
    conv_ratio: float | None,
    kernel: int | None,
) -> tuple[Part, ...]:
    parts, tokens, attn_dims = [], (length, width), heads * (width // all_heads)
    if qkv_ratio is not None:
        key = f'attention d={width} heads={heads}/{all_heads} ratio={float(qkv_ratio)} length={length}'
        parts.append(Part(key, 1, ((f'{path}.mixer.attention', (length, attn_dims)),)))
    if conv_ratio is not None:
        split, ratio = f'heads={all_heads - heads}/{all_heads}', float(conv_ratio)
        key = f'conv d={width} {split} ratio={ratio} kernel={kernel} length={length}'
        parts.append(Part(key, 1, ((f'{path}.mixer.conv', (length, width - attn_dims)),)))
    pieces = ((f'{path}.norm1', tokens), (f'{path}.norm2', tokens), (f'{path}.ffn', tokens))
    return (*parts, Part(f'ffn d={width} ratio={float(mlp_ratio)} length={length}', 1, pieces))


def glnet_parts(backbone: Config, arch: Config, side: int) -> Iterator[Part]:
    """GLNet: down-sampling, and of each stage's blocks the position encodings, the branches of the mixers, the FFNs."""
    width, size, overlapped = backbone.get('in_channels', 3), side, arch['overlapped_patches']
    for i, out in enumerate(arch['embed_dims']):
        step = 4 if i == 0 else 2
        path, before, size = f'stages.{i}', (width, size, size), -(-size // step) if overlapped else size // step
        pieces: Pieces = ((f'downsamplers.{i}', before), (f'out_norms.{i}',))
        if i == 3:
            pieces += (('norm', (out, size, size)),)
        layout = 'overlapped' if overlapped else 'patches'
        yield Part(f'down{i} {layout} in={width} out={out} side={size}', 1, pieces)
        width, depth, mixers, pixels = out, arch['depths'][i], arch['mixers'][i], (out, size, size)
        kernel, slots = arch['local_kernels'][i], arch['num_slots'][i]
        glmix, mhsa, local = mixers.count('glmix'), mixers.count('mhsa'), mixers.count('local')
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
        ratio, block = float(arch['ffn_ratios'][i]), f'{path}.0'
        kind = 'conv-ffn' if arch['conv_ffn'] else 'ffn'
        pieces = ((f'{block}.norm1', pixels), (f'{block}.norm2', pixels), (f'{block}.ffn', pixels))
        yield Part(f'{kind} width={width} ratio={ratio} side={size}', depth, pieces)


FAMILIES: dict[str, Callable[[Config, Config, int], Iterator[Part]]] = {
    'AutoViT': autovit_parts,
    'GLiT': glit_parts,
    'GLNet': glnet_parts,
}
