"""AutoViT: a lightweight network of inverted residuals and transformer blocks on unfolded patches.

Paper: "AutoViT: Achieving Real-Time Vision Transformers on Mobile via Latency-aware Coarse-to-Fine Search". No code
was released, and the paper gives widths, heads and ratios only. This module follows MobileViT where the paper leaves a
choice open, so the presets are a reconstruction, whose parameter counts are within 6 % of the published ones.
"Depth [5]" in table 5 is the number of transformer blocks.

stem - MBConv-1 - MBConv-2 - MBConv-3 - Transformer-1 to -3, -4 or -5 (each behind one MBConv) - MBPool

This module is long because a family is read from top to bottom in one file.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.archs.autovit import AutoViTArch, channels_of
from mmhybrid.models.backbones.base import HybridBackbone, LayerGroup, Output, drop_path_rates
from mmhybrid.models.families import Family, register_family
from mmhybrid.models.layers.attention import SelfAttention
from mmhybrid.models.layers.basic import LayerConfig, depthwise_conv2d, fused, is_known, layer_config, same_conv2d
from mmhybrid.models.layers.copies import built
from mmhybrid.models.layers.ffn import FFN
from mmhybrid.models.layers.folding import fold_norm
from mmhybrid.models.parts import Part, Piece, sides, strided
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import check_bool, check_float, check_int

HEAD_DIM = 16
# Strides of the stem and of the first layer of each stage.
STEM_STRIDE = 2
CONV_STRIDES = (1, 2, 2)
TRANSFORMER_STRIDES = (1, 2, 2, 1, 1)
POOL_RATIO = 6


class MBConv(nn.Module):
    """An inverted residual of expansion 1: depth-wise convolution, norm, activation, point-wise convolution, norm."""

    def __init__(self, in_width: int, width: int, kernel_size: int, stride: int, layers: LayerConfig) -> None:
        super().__init__()
        self.dwconv = depthwise_conv2d(in_width, kernel_size, stride, bias=False)
        self.norm1 = layers.norm(in_width)
        self.act = layers.act()
        self.conv = nn.Conv2d(in_width, width, 1, bias=False)
        self.norm2 = layers.norm(width)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H / stride, W / stride); adds ``x`` if the shape stays the same."""
        out = self.norm2(self.conv(self.act(self.norm1(self.dwconv(x)))))
        return x + out if self.stride == 1 and x.shape[1] == out.shape[1] else out

    def fold(self) -> None:
        """Fold the norms into the convolutions before them."""
        self.norm1, self.norm2 = fold_norm(self.dwconv, self.norm1), fold_norm(self.conv, self.norm2)


class TransformerLayer(nn.Module):
    """A transformer layer: attention and FFN, each behind a norm and within a residual."""

    def __init__(
        self, embed_dims: int, num_heads: int, mlp_ratio: float, drop_path: float, layers: LayerConfig
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attention = built(SelfAttention, embed_dims, num_heads, HEAD_DIM)
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = FFN.on_tokens(embed_dims, int(mlp_ratio * embed_dims), layers.act())
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, positions, patches, d) -> (B, positions, patches, d); attends over the patches of each position."""
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class TransformerStage(nn.Module):
    """A transformer stage: MBConv, local convolution, transformer layers on patches, and fusion with the MBConv's map.

    Args:
        in_width: Channels of the input.
        embed_dims: Channels of the tokens, which determine those of the map (see :func:`channels_of`).
        stride: Stride of the MBConv.
        num_heads: Number of heads of each layer.
        mlp_ratio: Ratio of the hidden width of each layer's FFN to ``embed_dims``.
        drop_paths: Stochastic depth rate of each layer.
        transformer_only: See :class:`AutoViTArch`.
        layers: Configs of the convolutions, norms and activations.
    """

    def __init__(
        self,
        in_width: int,
        embed_dims: int,
        stride: int,
        num_heads: int,
        mlp_ratio: float,
        drop_paths: Sequence[float],
        transformer_only: bool,
        layers: LayerConfig,
    ) -> None:
        super().__init__()
        width, kernel_size = channels_of(embed_dims), 1 if transformer_only else 3
        self.down = (
            layers.conv(in_width, width, 3, stride)
            if transformer_only
            else built(MBConv, in_width, width, 3, stride, layers)
        )
        self.local = layers.conv(width, width, kernel_size)
        self.proj_in = nn.Conv2d(width, embed_dims, 1, bias=False)
        self.layers = nn.ModuleList(
            built(TransformerLayer, embed_dims, num_heads, mlp_ratio, rate, layers) for rate in drop_paths
        )
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.proj_out = layers.conv(embed_dims, width, 1)
        self.fuse = layers.conv(2 * width, width, kernel_size)
        fused(self.fuse[0], into=(2, width))

    def forward(self, x: Tensor, run_block: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """(B, C, H, W) -> (B, width, H / stride, W / stride); ``run_block`` calls a layer and may checkpoint it."""
        x = run_block(self.down, x)
        hidden = self.proj_in(self.local(x))
        size = (hidden.shape[-2], hidden.shape[-1])
        even = tuple(side + side % 2 for side in size)
        tokens = unfold_patches(_resize(hidden, even))
        for layer in self.layers:
            tokens = run_block(layer, tokens)
        hidden = _resize(fold_patches(self.norm(tokens), even), size)
        return self.fuse(torch.cat((x, self.proj_out(hidden)), dim=1))


def unfold_patches(x: Tensor) -> Tensor:
    """Return the patches of 2 x 2 pixels of a map with even sides: (B, d, H, W) -> (B, 4, H * W / 4, d).

    The axes of the output are the batch, the position in the patch, the patch and the channel.
    """
    x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return x.permute(0, 3, 5, 2, 4, 1).flatten(3, 4).flatten(1, 2)


def fold_patches(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the map (B, d, H, W) of ``size`` (H, W) from its patches, as the inverse of :func:`unfold_patches`."""
    x = tokens.unflatten(1, (2, 2)).unflatten(3, (size[0] // 2, size[1] // 2))
    return x.permute(0, 5, 3, 1, 4, 2).flatten(4, 5).flatten(2, 3)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map bilinearly, as MobileViT does with odd sides; padding would leak into the attention."""
    if is_known(*x.shape[-2:], *size) and (x.shape[-2], x.shape[-1]) == size:
        return x
    return F.interpolate(x, size, mode='bilinear', align_corners=False)


@MODELS.register_module()
class AutoViT(HybridBackbone):
    """AutoViT backbone: maps at strides 4, 8, 16 and 32.

    The outputs 0 to 3 are those of MBConv-2, Transformer-1, Transformer-2 and the last transformer stage.

    Args:
        arch: Name of a preset, or anything else that :meth:`AutoViTArch.parse` takes.
        in_channels: Channels of the input.
        out_indices: Indices of the outputs to return, from 0 to 3.
        mbpool: Whether a point-wise convolution multiplies the channels of the last output by six, as the classifier
            needs it (MBPool); should be False for dense prediction.
        drop_path_rate: Stochastic depth rate of the last transformer layer; the rates grow linearly from 0 over all
            transformer layers.
        norm_cfg: Config of the norms behind convolutions; None for batch norm.
        act_cfg: Config of all activations; None for SiLU.
        out_norm_cfg: Config of a norm for each output, for dense prediction; None for no norms.
        frozen_stages: See :class:`HybridBackbone` for this and the remaining arguments.
    """

    output_layers = (*HybridBackbone.output_layers, 'mbpool')

    def __init__(
        self,
        arch: str | Mapping[str, Any] | AutoViTArch = 's',
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        mbpool: bool = True,
        drop_path_rate: float = 0.0,
        norm_cfg: Mapping[str, Any] | None = None,
        act_cfg: Mapping[str, Any] | None = None,
        out_norm_cfg: Mapping[str, Any] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(4, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        self.arch = parsed = AutoViTArch.parse(arch)
        norm_cfg, act_cfg = layer_config('norm_cfg', norm_cfg, 'BN'), layer_config('act_cfg', act_cfg, 'SiLU')
        layers = LayerConfig(same_conv2d, norm_cfg, act_cfg)
        in_channels = check_int('in_channels', in_channels, 1)
        self.stem = layers.conv(in_channels, parsed.stem_width, 3, STEM_STRIDE)

        self.conv_stages = nn.ModuleList()
        width = parsed.stem_width
        for stage, out_width in enumerate(parsed.conv_widths):
            kernel_size, stride = parsed.conv_kernels[stage], CONV_STRIDES[stage]
            self.conv_stages.append(
                nn.ModuleList([layers.conv(width, out_width, 3, stride)])
                if parsed.transformer_only
                else _mbconvs(width, out_width, kernel_size, stride, parsed.conv_depths[stage], layers)
            )
            width = out_width

        self.transformer_stages = nn.ModuleList()
        rates = iter(drop_path_rates(check_float('drop_path_rate', drop_path_rate, 0, 1), sum(parsed.depths)))
        for stage, (embed_dims, depth) in enumerate(zip(parsed.embed_dims, parsed.depths, strict=True)):
            sizes = (width, embed_dims, TRANSFORMER_STRIDES[stage], parsed.num_heads[stage], parsed.mlp_ratios[stage])
            drop_paths = [next(rates) for _ in range(depth)]
            self.transformer_stages.append(TransformerStage(*sizes, drop_paths, parsed.transformer_only, layers))
            width = channels_of(embed_dims)

        with_pool = check_bool('mbpool', mbpool) and 3 in self.out_indices
        self.mbpool = layers.conv(width, POOL_RATIO * width, 1) if with_pool else None
        self.build_output_norms(out_norm_cfg, None, [output.width for output in self.outputs(parsed)])
        self.finish()

    def init_weights(self) -> None:
        """Initialise the weights, unless ``init_cfg`` is given.

        Linear weights get a truncated normal distribution of standard deviation 0.02, and convolutions Kaiming's normal
        one.
        """
        if self.init_cfg is None:
            self.apply(_init_weights)
        super().init_weights()

    def layer_groups(self) -> list[LayerGroup]:
        """Return the stem, the MBConv layers, the transformer layers and MBPool.

        The layers of a stage before its transformer layers are a group of their own; those after them belong to the
        group of its last transformer layer.
        """
        groups = [LayerGroup(0, ('stem',))]
        for stage, depth in enumerate(self.arch.conv_depths):
            frozen_from = 1 if stage < 2 else 2
            groups += [LayerGroup(frozen_from, (f'conv_stages.{stage}.{i}',)) for i in range(depth)]
        for stage, depth in enumerate(self.arch.depths):
            prefix, frozen_from = f'transformer_stages.{stage}', min(stage + 2, 4)
            before = tuple(f'{prefix}.{name}' for name in ('down', 'local', 'proj_in'))
            after = tuple(f'{prefix}.{name}' for name in ('norm', 'proj_out', 'fuse'))
            groups.append(LayerGroup(frozen_from, before))
            groups += [LayerGroup(frozen_from, (f'{prefix}.layers.{i}',)) for i in range(depth)]
            groups[-1] = LayerGroup(frozen_from, groups[-1].names + after)
        if self.mbpool is not None:
            groups.append(LayerGroup(4, ('mbpool',)))
        return groups

    def outputs(self, arch: AutoViTArch) -> tuple[Output, ...]:
        """Return the sizes of the outputs, of which MBPool widens the last."""
        dims = (*arch.embed_dims[:2], arch.embed_dims[-1])
        widths = [arch.conv_widths[1], *(channels_of(width) for width in dims)]
        if self.mbpool is not None:
            widths[-1] *= POOL_RATIO
        return tuple(Output(*output) for output in zip(widths, (4, 8, 16, 32), strict=True))

    def parts(self, arch: AutoViTArch, input_shape: Sequence[int]) -> Iterator[Part]:
        """Yield stem, MBConv layers, MBPool, and the convolutions, attentions and MLPs of each transformer stage.

        The arguments are those of :meth:`HybridBackbone.parts`.
        """
        plain = 'plain' if arch.transformer_only else ''
        width, size = arch.stem_width, strided(input_shape[1:], STEM_STRIDE)
        yield Part('stem', {'width': width, **sides(*input_shape[1:])}, 1, (('stem', tuple(input_shape)),))
        stages = zip(arch.conv_widths, arch.conv_depths, arch.conv_kernels, strict=True)
        for i, (out, depth, kernel) in enumerate(stages):
            yield from _conv_parts(i, width, size, out, depth, kernel, plain)
            width, size = out, strided(size, CONV_STRIDES[i])
        blocks = zip(arch.embed_dims, arch.depths, arch.num_heads, arch.mlp_ratios, strict=True)
        for i, (hidden, depth, num_heads, mlp_ratio) in enumerate(blocks):
            yield from _transformer_parts(i, width, size, hidden, depth, num_heads, mlp_ratio, plain)
            width, size = channels_of(hidden), strided(size, TRANSFORMER_STRIDES[i])
        yield Part('pool', {'in': width, **sides(*size)}, 1, (('mbpool', (width, *size)), ('out_norms.3',)))

    def compute_outputs(self, x: Tensor) -> list[Tensor]:
        """Return the maps in ``out_indices`` for images (B, in_channels, H, W) with H and W >= 32."""
        x = self.stem(x)
        maps = []
        for blocks in self.conv_stages:
            for block in blocks.children():
                x = self.run_block(block, x)
            maps.append(x)
        for stage in self.transformer_stages:
            x = stage(x, self.run_block)
            maps.append(x)
        # the maps of MBConv-2, Transformer-1, Transformer-2 and the last transformer stage
        last = x if self.mbpool is None else self.mbpool(x)
        outputs = (maps[1], maps[3], maps[4], last)
        return [self.output_norm(index, outputs[index]) for index in self.out_indices]


@lru_cache(maxsize=10_000)  # a space has few different stages
def _conv_parts(
    stage: int, width: int, size: tuple[int, ...], out: int, depth: int, kernel: int, variant: str
) -> tuple[Part, ...]:
    """Return the parts of an MBConv stage on a map of ``width`` channels: its first layer, and the others."""
    path = f'conv_stages.{stage}'
    pieces: tuple[Piece, ...] = ((f'{path}.0', (width, *size)),)
    if stage == 1:
        pieces += (('out_norms.0',),)
    sizes = {'in': width, 'out': out, 'kernel': kernel, **sides(*size)}
    first = Part(f'conv{stage}', sizes, 1, pieces, variant)
    if depth == 1:
        return (first,)
    size = strided(size, CONV_STRIDES[stage])
    sizes = {'in': out, 'out': out, 'kernel': kernel, **sides(*size)}
    return first, Part('conv', sizes, depth - 1, ((f'{path}.1', (out, *size)),))


@lru_cache(maxsize=10_000)
def _transformer_parts(
    stage: int,
    width: int,
    size: tuple[int, ...],
    hidden: int,
    depth: int,
    num_heads: int,
    mlp_ratio: float,
    variant: str,
) -> tuple[Part, ...]:
    """Return the parts of a transformer stage on a map of ``width`` channels: its convolutions, attentions and MLPs."""
    path, out = f'transformer_stages.{stage}', channels_of(hidden)
    before, size = (width, *size), strided(size, TRANSFORMER_STRIDES[stage])
    after = (out, *size)
    tokens = (4, math.prod((side + 1) // 2 for side in size), hidden)
    pieces: tuple[Piece, ...] = (
        (f'{path}.down', before),
        (f'{path}.local', after),
        (f'{path}.proj_in', after),
        (f'{path}.norm', tokens),
        (f'{path}.proj_out', (hidden, *size)),
        (f'{path}.fuse', (2 * out, *size)),
    )
    if stage < 2:
        pieces += ((f'out_norms.{stage + 1}',),)
    layer, place = f'{path}.layers.0', sides(*size)
    attention = ((f'{layer}.norm1', tokens), (f'{layer}.attention', tokens))
    mlp = ((f'{layer}.norm2', tokens), (f'{layer}.mlp', tokens))
    return (
        Part(f'stage{stage}', {'in': width, 'd': hidden, **place}, 1, pieces, variant),
        Part('attention', {'d': hidden, 'heads': num_heads, **place}, depth, attention),
        Part('mlp', {'d': hidden, 'ratio': float(mlp_ratio), **place}, depth, mlp),
    )


def _mbconvs(
    in_width: int, width: int, kernel_size: int, stride: int, depth: int, layers: LayerConfig
) -> nn.ModuleList:
    blocks = [built(MBConv, in_width, width, kernel_size, stride, layers)]
    blocks += [built(MBConv, width, width, kernel_size, 1, layers) for _ in range(depth - 1)]
    return nn.ModuleList(blocks)


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        # fan_in, since torch's fan_out of a depth-wise convolution counts all channels and makes its output vanish
        nn.init.kaiming_normal_(module.weight, mode='fan_in')


register_family(Family(AutoViT, AutoViTArch, {'type': 'AutoViTSpace', 'table': 'xs'}))
