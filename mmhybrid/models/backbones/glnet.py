"""GLNet: local convolution on pixels and global attention on semantic slots, side by side.

Paper: "Revisiting the Integration of Convolution and Attention for Vision Backbone" (Zhu et al., NeurIPS 2024). Where
the paper and the released code differ, this module follows the code, since the released weights depend on it: slots are
pooled from a block's input before its position encoding and norm, and the scale of the cosine similarity is one learned
number for each block.

A block computes ``x += pos_conv(x)``, ``x += mixer(norm(x))``, ``x += ffn(norm(x))``.

This module is long because a family is read from top to bottom in one file.
"""

import itertools
import operator
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from mmhybrid.archs.glnet import HEAD_DIM, MIXERS, NUM_STAGES, GLNetArch
from mmhybrid.models.backbones.base import HybridBackbone, LayerGroup, Output, drop_path_rates
from mmhybrid.models.families import Family, register_family
from mmhybrid.models.layers.attention import SelfAttention
from mmhybrid.models.layers.basic import LayerNorm2d, LayerScale, build_norm, layer_config
from mmhybrid.models.layers.copies import built
from mmhybrid.models.layers.ffn import FFN
from mmhybrid.models.layers.folding import Product, ResidualDepthwiseConv2d, scale_outputs
from mmhybrid.models.layers.glmix import LocalConv, SlotAttention, WindowAttention
from mmhybrid.models.parts import Part, Piece, Size, sides, strided
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import check_float, check_int

# Stride of the down-sampling in front of each stage.
STRIDES = (4, 2, 2, 2)


class GLMix(nn.Module):
    """The sum of the global and the local branch (figure 4), or one of them alone (table 6)."""

    def __init__(self, local: LocalConv | WindowAttention | None, slots: SlotAttention | None) -> None:
        super().__init__()
        self.local = local
        self.slots = slots

    def forward(self, x: Tensor, block_input: Tensor) -> Tensor:
        """Normalised map and the block's input, both (B, C, H, W) -> (B, C, H, W)."""
        if self.slots is None:
            assert self.local is not None
            return self.local(x)
        out = self.slots(x, self.slots.initial_slots(block_input))
        return out + (x if self.local is None else self.local(x))

    def last_layers(self) -> list[Product]:
        """Return the layers whose outputs add up to the mixer's; none if the normalised map itself is added too."""
        if self.local is None:
            return []
        return [self.local.last_layer(), *([] if self.slots is None else [self.slots.last_layer()])]


class SequentialMix(nn.Module):
    """The two branches one after the other (table 6), within one residual, which the paper does not specify."""

    def __init__(self, local: LocalConv, slots: SlotAttention, global_first: bool) -> None:
        super().__init__()
        self.local = local
        self.slots = slots
        self.global_first = global_first

    def forward(self, x: Tensor, block_input: Tensor) -> Tensor:
        """Normalised map and the block's input, both (B, C, H, W) -> (B, C, H, W); the slots start from the latter."""
        initial_slots = self.slots.initial_slots(block_input)
        if self.global_first:
            return self.local(self.slots(x, initial_slots))
        return self.slots(self.local(x), initial_slots)

    def last_layers(self) -> list[Product]:
        """Return the layer whose output is the mixer's."""
        return [self.local.last_layer() if self.global_first else self.slots.last_layer()]


class MHSA(SelfAttention):
    """Multi-head self-attention over all pixels."""

    def forward(self, x: Tensor, block_input: Tensor) -> Tensor:  # type: ignore[override]
        """Normalised map (B, C, H, W) -> (B, C, H, W); the block's input is not used."""
        return super().forward(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)

    def last_layers(self) -> list[Product]:
        """Return the layer whose output is the mixer's."""
        return [self.last_layer()]


@dataclass(frozen=True)
class MixerSizes:
    """The sizes of a token mixer.

    Args:
        kind: Kind of mixer, a key of :data:`MIXERS`.
        width: Number of channels.
        head_dim: Channels of a head of any attention.
        kernel_size: Kernel size of the depth-wise convolution of a local branch.
        num_slots: Number of slots of a global branch.
        learned_slots: See :class:`GLNetArch`, also for ``fixed_scale``.
    """

    kind: str
    width: int
    head_dim: int
    kernel_size: int
    num_slots: int
    learned_slots: bool
    fixed_scale: bool

    def build(self) -> nn.Module:
        """Return a mixer of these sizes."""
        if self.kind == 'mhsa':
            return MHSA(self.width, self.width // self.head_dim, self.head_dim)
        local: LocalConv | WindowAttention | None = None
        slots: SlotAttention | None = None
        if self.kind == 'window-global':
            local = WindowAttention(self.width, self.head_dim)
        elif self.kind != 'global':
            local = LocalConv(self.width, self.kernel_size)
        if self.kind != 'local':
            slots = SlotAttention(self.width, self.num_slots, self.head_dim, self.learned_slots, self.fixed_scale)
        if isinstance(local, LocalConv) and slots is not None and self.kind != 'glmix':
            return SequentialMix(local, slots, global_first=self.kind == 'global-local')
        return GLMix(local, slots)


class GLNetBlock(nn.Module):
    """A GLNet block: position encoding, token mixer and FFN.

    Args:
        mixer: Sizes of the mixer, whose width is the block's.
        hidden_dims: Hidden width of the FFN.
        pos_encoding: See :class:`GLNetArch`, also for ``conv_ffn`` and ``layer_scale``.
        drop_path: Stochastic depth rate.
    """

    def __init__(
        self,
        mixer: MixerSizes,
        hidden_dims: int,
        pos_encoding: bool,
        conv_ffn: bool,
        layer_scale: float | None,
        drop_path: float,
    ) -> None:
        super().__init__()
        width = mixer.width
        self.pos_conv = ResidualDepthwiseConv2d(width, 3) if pos_encoding else None
        self.norm1 = LayerNorm2d(width)
        self.mixer: Any = built(MixerSizes.build, mixer)
        self.norm2 = LayerNorm2d(width)
        self.ffn = built(FFN.on_maps, width, hidden_dims, conv_ffn)
        self.scale1 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.scale2 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block_input = x
        if self.pos_conv is not None:
            x = self.pos_conv(x)
        x = x + self.drop_path(self.scale1(self.mixer(self.norm1(x), block_input)))
        return x + self.drop_path(self.scale2(self.ffn(self.norm2(x))))

    def fold(self) -> None:
        """Fold the layer scales into the last layers of the mixer and the FFN."""
        if isinstance(self.scale1, LayerScale) and (ends := self.mixer.last_layers()):
            for layer in ends:
                scale_outputs(layer, self.scale1.gamma)
            self.scale1 = nn.Identity()
        if isinstance(self.scale2, LayerScale):
            scale_outputs(self.ffn.last_layer(), self.scale2.gamma)
            self.scale2 = nn.Identity()


@MODELS.register_module()
class GLNet(HybridBackbone):
    """GLNet backbone: four stages at strides 4, 8, 16 and 32.

    Args:
        arch: Name of a preset, or anything else that :meth:`GLNetArch.parse` takes.
        in_channels: Channels of the input.
        out_indices: Indices of the stages to return, from 0 to 3.
        drop_path_rate: Stochastic depth rate of the last block; the rates grow linearly from 0 over all blocks.
        norm_cfg: Config of the norms in the stem, in the down-samplings and behind the last stage; None for batch norm.
        out_norm_cfg: Config of a norm for each output, for dense prediction; None for the single norm of the
            classifier, behind the last stage.
        frozen_stages: See :class:`HybridBackbone` for this and the remaining arguments.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] | GLNetArch = '4g',
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        drop_path_rate: float = 0.0,
        norm_cfg: Mapping[str, Any] | None = None,
        out_norm_cfg: Mapping[str, Any] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(NUM_STAGES, out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        self.arch = GLNetArch.parse(arch)
        in_channels = check_int('in_channels', in_channels, 1)
        norm_cfg = layer_config('norm_cfg', norm_cfg, 'BN')
        widths = self.arch.embed_dims
        make_downsampler = _overlapped_downsampler if self.arch.overlapped_patches else _patch_downsampler
        rates = iter(drop_path_rates(check_float('drop_path_rate', drop_path_rate, 0, 1), sum(self.arch.depths)))
        self.downsamplers = nn.ModuleList()
        self.stages = nn.ModuleList()
        for stage, (in_width, width) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            self.downsamplers.append(make_downsampler(stage, in_width, width, norm_cfg))
            self.stages.append(_stage(self.arch, stage, rates))
        self.build_output_norms(out_norm_cfg, norm_cfg, widths)
        self.finish()

    def init_weights(self) -> None:
        """Initialise the weights as the released code does, unless ``init_cfg`` is given.

        Linear layers get a truncated normal distribution of standard deviation 0.02, but the query-key-value
        projections get Xavier's uniform one. Convolutions keep torch's initialisation, except those that stand for
        linear layers (see :meth:`GLNetArch.has_linear_ffns`).
        """
        if self.init_cfg is None:
            for name, module in self.named_modules():
                _init_weights(name, module)
            for stage, blocks in enumerate(self.stages):
                for name, layer in blocks.named_modules() if self.arch.has_linear_ffns(stage) else ():
                    if isinstance(layer, nn.Conv2d) and name.endswith(('.ffn.conv1', '.ffn.conv2')):
                        _init_linear(layer)
        super().init_weights()

    def layer_groups(self) -> list[LayerGroup]:
        """Return the stem, then the blocks; a stage's down-sampling belongs to the group of its first block."""
        groups = [LayerGroup(0, ('downsamplers.0',))]
        for stage, depth in enumerate(self.arch.depths):
            for index in range(depth):
                with_down = (f'downsamplers.{stage}',) if stage and index == 0 else ()
                groups.append(LayerGroup(stage + 1, (*with_down, f'stages.{stage}.{index}')))
        return groups

    def outputs(self, arch: GLNetArch) -> tuple[Output, ...]:
        """Return the sizes of the stages' outputs."""
        strides = itertools.accumulate(STRIDES, operator.mul)
        return tuple(Output(*output) for output in zip(arch.embed_dims, strides, strict=True))

    def parts(self, arch: GLNetArch, input_shape: Sequence[int]) -> Iterator[Part]:
        """Yield the down-samplings, and for each stage the position encodings, branches of the mixers and FFNs.

        The arguments are those of :meth:`HybridBackbone.parts`.
        """
        in_width, *sides_in = input_shape
        size, layout = tuple(sides_in), 'overlapped' if arch.overlapped_patches else 'patches'
        options = _Options(
            arch.head_dim,
            ' '.join([flag for flag in ('learned_slots', 'fixed_scale') if getattr(arch, flag)]),
            arch.pos_encoding,
            arch.conv_ffn,
            arch.layer_scale is not None,
        )
        stages = zip(arch.embed_dims, arch.mixers, arch.local_kernels, arch.num_slots, arch.ffn_ratios, strict=True)
        for stage, (width, *genes) in enumerate(stages):
            down, size = _downsampling_part(stage, in_width, size, width, layout)
            yield down
            yield from _block_parts(stage, width, size, *genes, options)
            in_width = width

    def compute_outputs(self, x: Tensor) -> list[Tensor]:
        """Return maps of the stages in ``out_indices`` for images (B, in_channels, H, W) with H and W >= 32."""
        x = x.contiguous(memory_format=torch.channels_last)  # norms and slots read all channels of a pixel together
        outs = []
        for stage, (downsample, blocks) in enumerate(zip(self.downsamplers, self.stages, strict=True)):
            x = downsample(x)
            for block in blocks.children():
                x = self.run_block(block, x)
            if stage in self.out_indices:
                outs.append(self.output_norm(stage, x))
        return outs


def _stage(arch: GLNetArch, stage: int, drop_paths: Iterator[float]) -> nn.ModuleList:
    """Return the blocks of a stage, each of which takes the next rate of ``drop_paths``."""
    width, flags = arch.embed_dims[stage], (arch.learned_slots, arch.fixed_scale)
    sizes = (width, arch.head_dim, arch.local_kernels[stage], arch.num_slots[stage], *flags)
    hidden_dims = int(arch.ffn_ratios[stage] * width)
    options = (arch.pos_encoding, arch.conv_ffn, arch.layer_scale)
    return nn.ModuleList(
        built(GLNetBlock, MixerSizes(mixer, *sizes), hidden_dims, *options, next(drop_paths))
        for mixer in arch.mixers[stage]
    )


class _Options(NamedTuple):
    """The settings on which the parts of all blocks of a network depend."""

    head_dim: int
    slots_variant: str
    pos_encoding: bool
    conv_ffn: bool
    scaled: bool


@lru_cache(maxsize=10_000)  # a space has few different stages
def _downsampling_part(
    stage: int, in_width: int, size: tuple[int, ...], width: int, layout: str
) -> tuple[Part, tuple[int, ...]]:
    """Return the down-sampling in front of a stage, and the size of the map behind it."""
    before, stride = (in_width, *size), STRIDES[stage]
    size = strided(size, stride) if layout == 'overlapped' else tuple(side // stride for side in size)
    pieces: tuple[Piece, ...] = ((f'downsamplers.{stage}', before), (f'out_norms.{stage}',))
    if stage == NUM_STAGES - 1:
        pieces += (('norm', (width, *size)),)
    return Part(f'down{stage}', {'in': in_width, 'out': width, **sides(*size)}, 1, pieces, layout), size


@lru_cache(maxsize=10_000)
def _block_parts(
    stage: int,
    width: int,
    size: tuple[int, ...],
    mixers: tuple[str, ...],
    local_kernel: int,
    num_slots: int,
    ffn_ratio: float,
    options: _Options,
) -> tuple[Part, ...]:
    """Return the parts of a stage's blocks on maps of ``size``."""
    place, pixels, depth, parts = sides(*size), (width, *size), len(mixers), []
    blocks_of: dict[str, list[int]] = {}
    for index, mixer in enumerate(mixers):
        for branch in MIXERS[mixer]:
            blocks_of.setdefault(branch, []).append(index)
    for branch, blocks in blocks_of.items():
        path, variant = f'stages.{stage}.{blocks[0]}.mixer', ''
        sizes: dict[str, Size] = {'width': width}
        piece: Piece = (path, pixels, pixels)  # for mhsa
        if branch == 'local':
            sizes['kernel'], piece = local_kernel, (f'{path}.local', pixels)
        elif branch == 'window':
            piece = (f'{path}.local', pixels)
        elif branch == 'slots':
            sizes['slots'], piece = num_slots, (f'{path}.slots', pixels, (num_slots, width))
            variant = options.slots_variant
        if branch != 'local' and options.head_dim != HEAD_DIM:
            sizes['head'] = options.head_dim
        parts.append(Part(branch, {**sizes, **place}, len(blocks), (piece,), variant))
    block = f'stages.{stage}.0'
    if options.pos_encoding:
        parts.append(Part('position', {'width': width, **place}, depth, ((f'{block}.pos_conv', pixels),)))
    names = ('norm1', 'norm2', 'ffn', *(('scale1', 'scale2') if options.scaled else ()))
    sizes = {'width': width, 'ratio': float(ffn_ratio), **place}
    pieces = tuple([(f'{block}.{name}', pixels) for name in names])
    kind, variant = 'conv-ffn' if options.conv_ffn else 'ffn', 'scaled' if options.scaled else ''
    return (*parts, Part(kind, sizes, depth, pieces, variant))


def _patch_downsampler(stage: int, in_width: int, width: int, norm_cfg: dict) -> nn.Sequential:
    """Return a down-sampling in Swin's layout: norm after the projection in the stem, and before it in later stages.

    The names differ from those of overlapped patches, since layers of the same name share weights in a supernet.
    """
    size = STRIDES[stage]
    if stage == 0:
        norm, patch = build_norm(norm_cfg, width), nn.Conv2d(in_width, width, size, stride=size)
        layers = {'patch': patch, 'patch_norm': norm}
    else:
        norm, patch = build_norm(norm_cfg, in_width), nn.Conv2d(in_width, width, size, stride=size)
        layers = {'patch_norm': norm, 'patch': patch}
    return nn.Sequential(OrderedDict(layers))


def _overlapped_downsampler(stage: int, in_width: int, width: int, norm_cfg: dict) -> nn.Sequential:
    """Return a 3x3 convolution of stride 2 and a norm; the stem has two of them with GELU in between."""
    if stage == 0:
        return nn.Sequential(
            nn.Conv2d(in_width, width // 2, 3, stride=2, padding=1),
            build_norm(norm_cfg, width // 2),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            build_norm(norm_cfg, width),
        )
    return nn.Sequential(nn.Conv2d(in_width, width, 3, stride=2, padding=1), build_norm(norm_cfg, width))


def _init_weights(name: str, module: nn.Module) -> None:
    """Initialise a layer by its name, since a supernet holds the layers of an attention without the attention."""
    if not isinstance(module, nn.Linear):
        return
    _init_linear(module)
    if name.endswith('qkv'):
        nn.init.xavier_uniform_(module.weight)


def _init_linear(layer: nn.Linear | nn.Conv2d) -> None:
    trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


register_family(Family(GLNet, GLNetArch, {'type': 'GLNetSpace'}, 'mmhybrid.models.released_glnet'))
