"""GLNet: local convolution on pixels and global attention on semantic slots, side by side.

Paper: "Revisiting the Integration of Convolution and Attention for Vision Backbone" (Zhu et al., NeurIPS 2024). Where
paper and released code differ, this follows the code, since the released weights depend on it: slots are pooled from
a block's input before its position encoding and norm, and the scale of the cosine is one learned number a block.

A block computes ``x += pos_conv(x)``, ``x += mixer(norm(x))``, ``x += ffn(norm(x))``.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from mmhybrid.models.backbones.arch import check_odd, check_ratio, resolve_arch
from mmhybrid.models.backbones.base import HybridBackbone, LayerGroup, drop_path_rates
from mmhybrid.models.layers.attention import SelfAttention
from mmhybrid.models.layers.basic import LayerNorm2d, LayerScale, build_norm, layer_config
from mmhybrid.models.layers.folding import Product, ResidualDepthwiseConv2d, scale_outputs
from mmhybrid.models.layers.glmix import LocalConv, SlotAttention, WindowAttention
from mmhybrid.models.layers.order import sort_hidden
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import bad_value, check_bool, check_choice, check_float, check_int, check_keys, check_list

HEAD_DIM = 32
NUM_STAGES = 4
DEFAULT_KERNEL = 5
DEFAULT_SLOTS = 64
MIXERS = ('glmix', 'mhsa', 'local', 'global', 'global-local', 'local-global', 'window-global')


@dataclass(frozen=True)
class GLNetArch:
    """A GLNet, stage by stage.

    Args:
        embed_dims: Channels of the four stages, multiples of ``head_dim``.
        depths: Blocks of each stage.
        ffn_ratios: Hidden width of the FFN over its input's.
        mixers: For each stage the mixer of each block: ``glmix`` or ``mhsa``, or, for table 6, ``local`` (glmix
            without slots), ``global`` (glmix with an identity for the convolutions, as released),
            ``global-local`` and ``local-global`` (one behind the other), ``window-global`` (attention in windows of
            7x7 pixels as the local branch).
        local_kernels: Odd size of the depth-wise convolution of glmix and local blocks.
        num_slots: Slots of glmix and global blocks, squares.
        head_dim: Channels of a head of any attention.
        learned_slots: Start from learned slots, not from a pooled map.
        fixed_scale: Keep the scale of the slots' cosine at its initial value instead of learning it.
        overlapped_patches: 3x3 convolutions of stride 2 (two in the stem) instead of 4x4 and 2x2 patches.
        pos_encoding: A residual depth-wise 3x3 convolution in front of each mixer.
        conv_ffn: A residual depth-wise 3x3 convolution in the FFN.
        layer_scale: Initial value of the layer scales, None for none.
    """

    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    ffn_ratios: tuple[float, ...]
    mixers: tuple[tuple[str, ...], ...]
    local_kernels: tuple[int, ...]
    num_slots: tuple[int, ...]
    head_dim: int
    learned_slots: bool
    fixed_scale: bool
    overlapped_patches: bool
    pos_encoding: bool
    conv_ffn: bool
    layer_scale: float | None

    @classmethod
    def parse(cls, arch: str | Mapping[str, Any]) -> 'GLNetArch':
        """Validate a preset's name or a dict; see :data:`PRESETS` for the keys.

        ``mixers`` may name one mixer a stage for all its blocks; ``local_kernels`` (5), ``num_slots`` (64),
        ``head_dim`` (32) and the flags (off) are optional. Of stages none of whose blocks reads them, kernels and slots
        are the default ones, so that equal networks have equal archs.

        Raises:
            ValueError: Naming the field, the value and what is allowed.
        """
        raw = resolve_arch('GLNet', arch, PRESETS)
        flags = ('learned_slots', 'fixed_scale', 'overlapped_patches', 'pos_encoding', 'conv_ffn')
        check_keys(
            'GLNet arch',
            raw,
            ('embed_dims', 'depths', 'ffn_ratios', 'mixers'),
            ('local_kernels', 'num_slots', 'head_dim', 'layer_scale', *flags),
        )

        def stages(field: str, default: int = 0) -> list[Any]:
            return check_list(f'arch.{field}', raw.get(field, [default] * NUM_STAGES), NUM_STAGES)

        head_dim = check_int('arch.head_dim', raw.get('head_dim', HEAD_DIM), 1)
        embed_dims = tuple(check_int('arch.embed_dims', value, head_dim) for value in stages('embed_dims'))
        for width in embed_dims:
            if width % head_dim:
                raise bad_value('arch.embed_dims', width, f'a multiple of {head_dim}')
        kernels = tuple(check_odd('arch.local_kernels', value) for value in stages('local_kernels', DEFAULT_KERNEL))
        slots = tuple(check_int('arch.num_slots', value, 1) for value in stages('num_slots', DEFAULT_SLOTS))
        for count in slots:
            if round(count**0.5) ** 2 != count:
                raise bad_value('arch.num_slots', count, 'a square number')
        depths = tuple(check_int('arch.depths', value, 1) for value in stages('depths'))
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
            local_kernels=_where_read(kernels, mixers, {'mhsa', 'global', 'window-global'}, DEFAULT_KERNEL),
            num_slots=_where_read(slots, mixers, {'mhsa', 'local'}, DEFAULT_SLOTS),
            head_dim=head_dim,
            layer_scale=None if scale is None else check_float('arch.layer_scale', scale, 0, above=True),
            **{flag: check_bool(f'arch.{flag}', raw.get(flag, False)) for flag in flags},
        )

    def has_linear_ffns(self, stage: int) -> bool:
        """Whether the released class builds the FFNs of a stage of linear layers, which decides how they begin.

        It does in stages of attention alone, unless position encoding or a convolutional FFN asks for its other block.
        """
        return set(self.mixers[stage]) == {'mhsa'} and not (self.pos_encoding or self.conv_ffn)


def _stage_mixers(mixers: object, depth: int) -> tuple[str, ...]:
    if isinstance(mixers, str):
        mixers = [mixers] * depth
    return tuple(check_choice('arch.mixers', mixer, MIXERS) for mixer in check_list('arch.mixers', mixers, depth))


def _where_read(
    sizes: tuple[int, ...], mixers: tuple[tuple[str, ...], ...], without: set[str], default: int
) -> tuple[int, ...]:
    """Sizes of stages with another mixer than those ``without`` such a size."""
    return tuple(size if set(used) - without else default for size, used in zip(sizes, mixers, strict=True))


class GLMix(nn.Module):
    """Global and local branch added (figure 4), or one of them alone (table 6)."""

    def __init__(self, local: LocalConv | WindowAttention | None, slots: SlotAttention | None) -> None:
        super().__init__()
        self.local = local
        self.slots = slots

    def forward(self, x: Tensor, block_input: Tensor) -> Tensor:
        """Normed map and the block's input, both (B, C, H, W) -> (B, C, H, W)."""
        if self.slots is None:
            assert self.local is not None
            return self.local(x)
        out = self.slots(x, self.slots.initial_slots(block_input))
        return out + (x if self.local is None else self.local(x))

    def last_layers(self) -> list[Product]:
        """The layers whose sum the output is; none where the normed map itself is part of it."""
        if self.local is None:
            return []
        return [self.local.last_layer(), *([] if self.slots is None else [self.slots.last_layer()])]


class SequentialMix(nn.Module):
    """The two branches one behind the other, within one residual (table 6; the paper leaves the residuals open)."""

    def __init__(self, local: LocalConv, slots: SlotAttention, global_first: bool) -> None:
        super().__init__()
        self.local = local
        self.slots = slots
        self.global_first = global_first

    def forward(self, x: Tensor, block_input: Tensor) -> Tensor:
        """Normed map and the block's input, from which the slots start, both (B, C, H, W) -> (B, C, H, W)."""
        initial_slots = self.slots.initial_slots(block_input)
        if self.global_first:
            return self.local(self.slots(x, initial_slots))
        return self.slots(self.local(x), initial_slots)

    def last_layers(self) -> list[Product]:
        """The layer whose output is theirs."""
        return [self.local.last_layer() if self.global_first else self.slots.last_layer()]


class MHSA(SelfAttention):
    """Full attention over all pixels."""

    def forward(self, x: Tensor, block_input: Tensor) -> Tensor:  # type: ignore[override]
        """Normed map (B, C, H, W) -> (B, C, H, W); the block's input is not used."""
        return super().forward(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)

    def last_layers(self) -> list[Product]:
        """The layer whose output is theirs."""
        return [self.last_layer()]


class FFN(nn.Module):
    """Point-wise convolution, optional residual depth-wise convolution, GELU, point-wise convolution."""

    def __init__(self, embed_dims: int, hidden_dims: int, conv: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(embed_dims, hidden_dims, 1)
        self.dwconv = ResidualDepthwiseConv2d(hidden_dims, 3) if conv else None
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(hidden_dims, embed_dims, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = self.conv1(x)
        if self.dwconv is not None:
            x = self.dwconv(x)
        return self.conv2(self.act(x))

    def sort_channels(self) -> None:
        """Sort the hidden channels."""
        sort_hidden([self.conv1, *([] if self.dwconv is None else [self.dwconv])], self.conv2)


class GLNetBlock(nn.Module):
    """One block of a stage; ``stage`` and ``index`` select its choices from ``arch``."""

    def __init__(self, arch: GLNetArch, stage: int, index: int, drop_path: float) -> None:
        super().__init__()
        width = arch.embed_dims[stage]
        self.pos_conv = ResidualDepthwiseConv2d(width, 3) if arch.pos_encoding else None
        self.norm1 = LayerNorm2d(width)
        self.mixer: Any = _build_mixer(arch, stage, arch.mixers[stage][index])
        self.norm2 = LayerNorm2d(width)
        self.ffn = FFN(width, int(arch.ffn_ratios[stage] * width), arch.conv_ffn)
        scale = arch.layer_scale
        self.scale1 = nn.Identity() if scale is None else LayerScale(width, scale)
        self.scale2 = nn.Identity() if scale is None else LayerScale(width, scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block_input = x
        if self.pos_conv is not None:
            x = self.pos_conv(x)
        x = x + self.drop_path(self.scale1(self.mixer(self.norm1(x), block_input)))
        return x + self.drop_path(self.scale2(self.ffn(self.norm2(x))))

    def fold(self) -> None:
        """Put the factors of the branches into the layers that end them."""
        if isinstance(self.scale1, LayerScale) and (ends := self.mixer.last_layers()):
            for layer in ends:
                scale_outputs(layer, self.scale1.gamma)
            self.scale1 = nn.Identity()
        if isinstance(self.scale2, LayerScale):
            scale_outputs(self.ffn.conv2, self.scale2.gamma)
            self.scale2 = nn.Identity()


def _build_mixer(arch: GLNetArch, stage: int, mixer: str) -> nn.Module:
    width = arch.embed_dims[stage]
    if mixer == 'mhsa':
        return MHSA(width, width // arch.head_dim, arch.head_dim)
    local: LocalConv | WindowAttention | None = None
    slots: SlotAttention | None = None
    if mixer == 'window-global':
        local = WindowAttention(width, arch.head_dim)
    elif mixer != 'global':
        local = LocalConv(width, arch.local_kernels[stage])
    if mixer != 'local':
        slots = SlotAttention(width, arch.num_slots[stage], arch.head_dim, arch.learned_slots, arch.fixed_scale)
    if isinstance(local, LocalConv) and slots is not None and mixer != 'glmix':
        return SequentialMix(local, slots, global_first=mixer == 'global-local')
    return GLMix(local, slots)


@MODELS.register_module()
class GLNet(HybridBackbone):
    """GLNet backbone: four stages at strides 4, 8, 16 and 32.

    Args:
        arch: A name of :data:`PRESETS`, or a dict as :meth:`GLNetArch.parse` takes it.
        in_channels: Channels of the input.
        out_indices: Stages to return, from 0 to 3.
        drop_path_rate: Stochastic depth of the last block, growing linearly over all blocks.
        norm_cfg: Norm of the stem, of the down-sampling and behind the last stage.
        out_norm_cfg: A norm for each output, for dense prediction; None for the classifier's single one.
        frozen_stages: See :class:`HybridBackbone`, as for the remaining arguments.
    """

    arch_class = GLNetArch

    def __init__(
        self,
        arch: str | Mapping[str, Any] = '4g',
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
            depth = self.arch.depths[stage]
            self.stages.append(nn.ModuleList(GLNetBlock(self.arch, stage, i, next(rates)) for i in range(depth)))
        self.build_output_norms(out_norm_cfg, norm_cfg, widths)
        self.finish()

    def init_weights(self) -> None:
        """Initialise as the released code does, unless ``init_cfg`` says else.

        Linear layers: truncated normal (0.02); attention's projections of its input: Xavier; convolutions: torch's own,
        but for those that stand for linear layers, see :meth:`GLNetArch.has_linear_ffns`.
        """
        if self.init_cfg is None:
            for name, module in self.named_modules():
                _init_weights(name, module)
            for stage, blocks in enumerate(self.stages):
                for layer in blocks.modules() if self.arch.has_linear_ffns(stage) else ():
                    if isinstance(layer, FFN):
                        _init_linear(layer.conv1)
                        _init_linear(layer.conv2)
        super().init_weights()

    def layer_groups(self) -> list[LayerGroup]:
        """The stem, then all blocks; a stage's down-sampling goes with its first block."""
        groups = [LayerGroup(0, ('downsamplers.0',))]
        for stage, depth in enumerate(self.arch.depths):
            for index in range(depth):
                with_down = (f'downsamplers.{stage}',) if stage and index == 0 else ()
                groups.append(LayerGroup(stage + 1, (*with_down, f'stages.{stage}.{index}')))
        return groups

    def compute_outputs(self, x: Tensor) -> list[Tensor]:
        """Images (B, in_channels, H, W), H and W >= 32 -> maps of the stages in ``out_indices``."""
        x = x.contiguous(memory_format=torch.channels_last)  # the norms and the slots run along channels
        outs = []
        for stage, (downsample, blocks) in enumerate(zip(self.downsamplers, self.stages, strict=True)):
            x = downsample(x)
            for block in blocks.children():
                x = self.run_block(block, x)
            if stage in self.out_indices:
                outs.append(self.output_norm(stage, x))
        return outs


def _patch_downsampler(stage: int, in_width: int, width: int, norm_cfg: dict) -> nn.Sequential:
    """Swin's layout: the stem projects and norms, the later ones norm and project.

    The names differ from those of overlapped patches, since layers of one name share weights in a supernet.
    """
    if stage == 0:
        layers = {'patch': nn.Conv2d(in_width, width, 4, stride=4), 'patch_norm': build_norm(norm_cfg, width)}
    else:
        norm = build_norm(norm_cfg, in_width)
        layers = {'patch_norm': norm, 'patch': nn.Conv2d(in_width, width, 2, stride=2)}
    return nn.Sequential(OrderedDict(layers))


def _overlapped_downsampler(stage: int, in_width: int, width: int, norm_cfg: dict) -> nn.Sequential:
    """3x3 convolutions of stride 2, each followed by a norm; two of them in the stem."""
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
    """Initialise one layer; its name decides, since a supernet holds an attention's layers without the attention."""
    if not isinstance(module, nn.Linear):
        return
    _init_linear(module)
    if name.endswith('qkv'):
        nn.init.xavier_uniform_(module.weight)


def _init_linear(layer: nn.Linear | nn.Conv2d) -> None:
    trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


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
