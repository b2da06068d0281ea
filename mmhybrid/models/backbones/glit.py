"""GLiT: a plain vision transformer whose heads are split between attention and convolution.

Paper: "GLiT: Neural Architecture Search for Global and Local Image Transformer" (Chen et al., ICCV 2021). As in the
released code, the FFN's activation is GELU (the paper says Swish). In a mixed block, the first channels go to the
attention heads and the last ones to the convolution heads, with no projection across the two.

A block computes ``x += mixer(norm(x))``, ``x += ffn(norm(x))`` on the class token followed by the patches.
:data:`LOCAL_HEADS` has the alternatives to the convolution over the sequence that table 6 compares.

This module is long because a family is read from top to bottom in one file.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid import torch_api
from mmhybrid.archs.glit import GLiTArch, GLiTBlockArch
from mmhybrid.models.backbones.base import HybridBackbone, LayerGroup, Output, drop_path_rates
from mmhybrid.models.families import Family, register_family
from mmhybrid.models.layers.attention import SelfAttention
from mmhybrid.models.layers.basic import at_least_float32, build_norm, fused, is_known
from mmhybrid.models.layers.copies import built
from mmhybrid.models.layers.ffn import FFN
from mmhybrid.models.layers.folding import fold_norm
from mmhybrid.models.layers.order import sort_hidden
from mmhybrid.models.parts import Part, Piece, Share, Size, sides, strided
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import bad_value, check_choice, check_float, check_int, check_list

MAP_OUT_TYPES = ('raw', 'featmap', 'avg_featmap')
OUT_TYPES = ('cls_token', *MAP_OUT_TYPES)


class RowConv(nn.Conv1d):
    """A one-dimensional convolution of maps of one row, (B, C, 1, L), in the memory format channels_last.

    Tokens lie in memory in this format, and torch's two-dimensional kernels for it are an order of magnitude faster
    than its depth-wise ``Conv1d``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 1, L) -> (B, C, 1, L)."""
        if self.kernel_size == (1,) and self.groups == 1:  # a linear layer, which is a little faster
            return F.linear(x.permute(0, 2, 3, 1), self.weight.squeeze(-1), self.bias).permute(0, 3, 1, 2)
        padding = (0, *map(int, self.padding))
        return F.conv2d(x, self.weight.unsqueeze(2), self.bias, padding=padding, groups=self.groups)


class ConvHeads(nn.Module):
    """The local sub-module (figure 3): expansion, GLU, depth-wise convolution over tokens, norm, Swish and reduction.

    With ``conv=RowConv``, the tokens are a sequence (B, L, C); with ``nn.Conv2d``, they are a map (B, H, W, C).
    """

    def __init__(
        self, num_heads: int, head_dim: int, ratio: float, kernel_size: int, conv: type[RowConv] | type[nn.Conv2d]
    ) -> None:
        super().__init__()
        embed_dims = num_heads * head_dim
        hidden_dims = int(ratio * embed_dims)
        self.expand = fused(conv(embed_dims, 2 * hidden_dims, 1), out=(2, hidden_dims))
        self.dwconv = conv(hidden_dims, hidden_dims, kernel_size, padding=kernel_size // 2, groups=hidden_dims)
        self.norm = build_norm({'type': 'BN'}, hidden_dims)
        self.reduce = conv(hidden_dims, embed_dims, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., C) -> (B, ..., C)."""
        rows = x.unsqueeze(1) if x.dim() == 3 else x
        out = self.expand(rows.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        # over the last axis: over another one, the gradient has other strides than torch.compile expects
        out = F.glu(out, dim=-1).permute(0, 3, 1, 2)
        out = self.reduce(F.silu(self.norm(self.dwconv(out))))
        return out.permute(0, 2, 3, 1).reshape(x.shape)

    def fold(self) -> None:
        """Fold the norm into the convolution before it."""
        self.norm = fold_norm(self.dwconv, self.norm)

    def sort_channels(self) -> None:
        """Sort the channels between the point-wise convolutions by importance."""
        sort_hidden([self.expand, self.dwconv, self.norm], self.reduce)


class WindowHeads(nn.Module):
    """Attention within windows of consecutive tokens.

    The first window also takes the tokens that are left over: with the paper's sizes and images of 224 x 224, the class
    token.
    """

    def __init__(self, num_heads: int, head_dim: int, ratio: float, window: int) -> None:
        super().__init__()
        self.attention = SelfAttention(num_heads * head_dim, num_heads, int(ratio * head_dim))
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        length = x.shape[1]
        first = min(length, self.window + length % self.window)
        parts = [self.attention(x[:, :first])]
        if first < length:
            others = x[:, first:].unflatten(1, (-1, self.window))
            parts.append(self.attention(others).flatten(1, 2))
        return torch.cat(parts, dim=1)


# Functions that build the local heads of each locality from the number of heads, their width, ``conv_ratio`` and
# ``kernel_size``. The network of the paper has convolutions over the sequence. Table 6 compares convolutions over the
# map, with kernel sizes 3, 5 or 7, and attention within windows of 14, 28 or 49 tokens, in which ``conv_ratio`` is the
# ratio of the width of queries, keys and values to the channels. The paper does not say how the windows are placed.
LOCAL_HEADS: dict[str, Callable[[int, int, float, int], nn.Module]] = {
    'conv1d': partial(ConvHeads, conv=RowConv),
    'conv2d': partial(ConvHeads, conv=nn.Conv2d),
    'window': WindowHeads,
}


class GlobalLocal(nn.Module):
    """The mixer: attention heads on the first channels and local heads on the last ones (figure 2)."""

    def __init__(self, head_dim: int, num_heads: int, block: GLiTBlockArch, locality: str) -> None:
        super().__init__()
        self.attn_dims = block.num_attn_heads * head_dim
        self.attention: SelfAttention | None = None
        self.conv: nn.Module | None = None
        if block.qkv_ratio is not None:
            qkv_dims = int(block.qkv_ratio * head_dim)
            self.attention = built(SelfAttention, self.attn_dims, block.num_attn_heads, qkv_dims)
        if block.conv_ratio is not None and block.kernel_size is not None:
            sizes = (num_heads - block.num_attn_heads, head_dim, block.conv_ratio, block.kernel_size)
            self.conv = built(LOCAL_HEADS[locality], *sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, ..., C) -> (B, ..., C)."""
        parts = []
        if self.attention is not None:
            heads = x[..., : self.attn_dims]
            parts.append(self.attention(heads.flatten(1, -2)).reshape(heads.shape))
        if self.conv is not None:
            parts.append(self.conv(x[..., self.attn_dims :]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class GLiTBlock(nn.Module):
    """A global-local block: the mixer and the FFN."""

    def __init__(self, embed_dims: int, num_heads: int, block: GLiTBlockArch, locality: str, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mixer = GlobalLocal(embed_dims // num_heads, num_heads, block, locality)
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.ffn = built(FFN.on_tokens, embed_dims, int(block.mlp_ratio * embed_dims))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, ..., C) -> (B, ..., C)."""
        x = x + self.drop_path(self.mixer(self.norm1(x)))
        return x + self.drop_path(self.ffn(self.norm2(x)))


@MODELS.register_module()
class GLiT(HybridBackbone):
    """GLiT backbone: blocks of one width, at the stride of the patches.

    Images whose sides are not multiples of the patch size are padded with zeros at the right and at the bottom.

    Args:
        arch: Name of a preset, or anything else that :meth:`GLiTArch.parse` takes.
        img_size: Side, or height and width, of the images that the position embedding is made for. Bicubic
            interpolation adapts it to images of other sizes, and adapts the embedding of a checkpoint with another
            number of positions to ``img_size``. Such a checkpoint is assumed to have a square grid of patches; the
            positions beyond the largest square are those of class and distillation tokens.
        patch_size: Side of a patch in pixels.
        in_channels: Channels of the input.
        out_indices: Indices of the blocks to return.
        out_type: Type of the outputs. ``cls_token``, (B, C), needs an arch with a class token (not
            ``locality='conv2d'``); ``featmap`` has the shape (B, C, H / patch_size, W / patch_size); ``avg_featmap``,
            (B, C), is its mean; ``raw``, (B, L, C), has the class token, if there is one, and the patches.
        drop_path_rate: Stochastic depth rate of the last block; the rates grow linearly from 0 over all blocks.
        out_norm_cfg: Config of a norm for each output, for dense prediction (``featmap`` only); None for the single
            LayerNorm of the classifier, behind the last block.
        frozen_stages: See :class:`HybridBackbone` for this and the remaining arguments; the stem consists of the patch
            embedding, the class token and the position embedding.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] | GLiTArch = 'tiny',
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        out_indices: Sequence[int] = (-1,),
        out_type: str = 'cls_token',
        drop_path_rate: float = 0.0,
        out_norm_cfg: Mapping[str, Any] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        parsed = GLiTArch.parse(arch)
        super().__init__(len(parsed.blocks), out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        self.arch = parsed
        with_cls_token = parsed.has_cls_token
        self.out_type = check_choice('out_type', out_type, OUT_TYPES if with_cls_token else MAP_OUT_TYPES)
        if out_norm_cfg is not None and out_type != 'featmap':
            raise bad_value('out_norm_cfg', out_norm_cfg, f"None unless out_type is 'featmap', here {out_type!r}")
        self.patch_size = check_int('patch_size', patch_size, 1)
        self.grid = _grid(img_size, self.patch_size)
        width = self.arch.embed_dims
        in_channels = check_int('in_channels', in_channels, 1)
        self.patch_embed = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if with_cls_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, with_cls_token + math.prod(self.grid), width))
        rates = drop_path_rates(check_float('drop_path_rate', drop_path_rate, 0, 1), self.num_outputs)
        self.blocks = nn.ModuleList(
            built(GLiTBlock, width, parsed.num_heads, block, parsed.locality, rate)
            for block, rate in zip(parsed.blocks, rates, strict=True)
        )
        self.build_output_norms(out_norm_cfg, {'type': 'LN', 'eps': 1e-6}, [width] * self.num_outputs)
        torch_api.register_load_hook(self, _adopt_pos_embed)
        self.finish()

    def init_weights(self) -> None:
        """Initialise the weights as DeiT does, unless ``init_cfg`` is given.

        Class token, position embedding and linear weights get a truncated normal distribution of standard deviation
        0.02.
        """
        if self.init_cfg is None:
            if self.cls_token is not None:
                trunc_normal_(self.cls_token, std=0.02)
            trunc_normal_(self.pos_embed, std=0.02)
            self.apply(_init_weights)
        super().init_weights()

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embeddings, then the blocks."""
        stem = LayerGroup(0, ('patch_embed', 'cls_token', 'pos_embed'))
        return [stem, *(LayerGroup(i + 1, (f'blocks.{i}',)) for i in range(self.num_outputs))]

    def outputs(self, arch: GLiTArch) -> tuple[Output, ...]:
        """Return the sizes of the blocks' outputs."""
        return (Output(arch.embed_dims, self.patch_size),) * len(arch.blocks)

    def parts(self, arch: GLiTArch, input_shape: Sequence[int]) -> Iterator[Part]:
        """Yield the stem, and the attention heads, local heads and FFN of each block.

        The arguments are those of :meth:`HybridBackbone.parts`.
        """
        width, (channels, *size) = arch.embed_dims, input_shape
        rows, columns = strided(size, self.patch_size)
        length = arch.has_cls_token + rows * columns
        tokens = (length, width) if arch.has_cls_token else (rows, columns, width)
        padded = (channels, rows * self.patch_size, columns * self.patch_size)
        stem = ('patch_embed', padded)
        pieces = (stem, ('cls_token',), ('pos_embed',), ('norm', tokens), ('out_norms',))
        yield Part('stem', {'width': width, **sides(*size)}, 1, pieces)
        for i, block in enumerate(arch.blocks):
            yield from _block_parts(i, block, width, arch.num_heads, arch.locality, length, (rows, columns))

    def compute_outputs(self, x: Tensor) -> list[Tensor]:
        """Return outputs of type ``out_type`` of the blocks in ``out_indices``, for images (B, in_channels, H, W)."""
        # no negative numbers: torch.compile lacks their modulo, and ONNX's integer division rounds towards zero
        size = self.patch_size
        pad_h, pad_w = ((side + size - 1) // size * size - side for side in x.shape[-2:])
        if not is_known(pad_h, pad_w) or pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h))
        patches = self.patch_embed(x)
        grid = (patches.shape[-2], patches.shape[-1])
        tokens = patches.flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            tokens = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), tokens), dim=1)
        tokens = tokens + resize_pos_embed(self.pos_embed, self.grid, grid)
        if self.cls_token is None:
            tokens = tokens.unflatten(1, grid)
        outs = []
        for i, block in enumerate(self.blocks):
            tokens = self.run_block(block, tokens)
            if i in self.out_indices:
                outs.append(self._format_output(i, tokens, grid))
        return outs

    def _format_output(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        if not hasattr(self, 'out_norms'):
            tokens = self.output_norm(index, tokens)
        tokens = tokens.flatten(1, -2)
        patches = tokens if self.cls_token is None else tokens[:, 1:]
        if self.out_type == 'raw':
            return tokens
        if self.out_type == 'cls_token':
            return tokens[:, 0]
        if self.out_type == 'avg_featmap':
            return patches.mean(1)
        featmap = patches.transpose(1, 2).unflatten(2, grid)
        return self.output_norm(index, featmap) if hasattr(self, 'out_norms') else featmap


@lru_cache(maxsize=10_000)  # a network has dozens of blocks, but a space has few different ones
def _block_parts(
    index: int,
    block: GLiTBlockArch,
    width: int,
    num_heads: int,
    locality: str,
    length: int,
    grid: tuple[int, int],
) -> tuple[Part, ...]:
    """Return the parts of a block on ``length`` tokens, or on a map of ``grid`` if the local heads see a map."""
    path, parts, on_map = f'blocks.{index}', [], locality == 'conv2d'
    places = grid if on_map else (length,)
    attn_heads = block.num_attn_heads
    attn_dims = attn_heads * (width // num_heads)
    if block.qkv_ratio is not None:
        split: dict[str, Size] = {'heads': Share(attn_heads, num_heads), 'ratio': float(block.qkv_ratio)}
        pieces: tuple[Piece, ...] = ((f'{path}.mixer.attention', (length, attn_dims)),)
        parts.append(Part('attention', {'d': width, **split, 'length': length}, 1, pieces))
    if block.conv_ratio is not None and block.kernel_size is not None:
        shape = sides(*grid) if on_map and grid[0] != grid[1] else {}  # the length determines a square grid
        split = {'heads': Share(num_heads - attn_heads, num_heads), 'ratio': float(block.conv_ratio)}
        sizes = {'d': width, **split, 'kernel': block.kernel_size, 'length': length, **shape}
        pieces = ((f'{path}.mixer.conv', (*places, width - attn_dims)),)
        parts.append(Part('conv' if locality == 'conv1d' else locality, sizes, 1, pieces))
    pieces = tuple((f'{path}.{name}', (*places, width)) for name in ('norm1', 'norm2', 'ffn'))
    return (*parts, Part('ffn', {'d': width, 'ratio': float(block.mlp_ratio), 'length': length}, 1, pieces))


def resize_pos_embed(pos_embed: Tensor, own: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Return the position embedding of a grid of patches, resized to another grid.

    Args:
        pos_embed: Embedding (1, L, C) of the class token, if there is one, and of the patches.
        own: Rows and columns of the grid that it is made for.
        grid: Rows and columns of the new grid.
    """
    if is_known(*grid) and grid == own:
        return pos_embed
    num_patches = math.prod(own)
    cls_token, patches = pos_embed.split((pos_embed.shape[1] - num_patches, num_patches), dim=1)
    patches = patches.unflatten(1, own).permute(0, 3, 1, 2)
    patches = F.interpolate(at_least_float32(patches), grid, mode='bicubic', align_corners=False).to(pos_embed.dtype)
    return torch.cat((cls_token, patches.flatten(2).transpose(1, 2)), dim=1)


def _grid(img_size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    """Return the rows and columns of an image's grid of patches."""
    sides = [img_size] * 2 if isinstance(img_size, int) else check_list('img_size', img_size, 2)
    height, width = (check_int('img_size', side, patch_size) // patch_size for side in sides)
    return height, width


def _adopt_pos_embed(module: GLiT, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    """Let a position embedding load that was made for another image size, or for other tokens besides the patches."""
    key = f'{prefix}pos_embed'
    loaded = state_dict.get(key)
    ours = module.pos_embed
    if loaded is None or loaded.shape == ours.shape or loaded.dim() != 3 or loaded.shape[-1] != ours.shape[-1]:
        return
    side = math.isqrt(loaded.shape[1])
    num_tokens = loaded.shape[1] - side**2
    if num_tokens > 2:  # more than a class token and a distillation token: torch reports that the shapes differ
        return
    patches = resize_pos_embed(loaded[:, num_tokens:], (side, side), module.grid)
    if module.cls_token is None:
        state_dict.pop(f'{prefix}cls_token', None)
    elif num_tokens:
        patches = torch.cat((loaded[:, :1], patches), dim=1)
    else:
        state_dict.setdefault(f'{prefix}cls_token', module.cls_token.detach())
        patches = torch.cat((ours[:, :1].detach().to(patches), patches), dim=1)
    state_dict[key] = patches


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


register_family(
    Family(GLiT, GLiTArch, {'type': 'GLiTSpace'}, 'mmhybrid.models.released_glit', classifier='head.layers.head')
)
