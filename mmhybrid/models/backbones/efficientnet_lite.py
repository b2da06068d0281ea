"""EfficientNet-Lite: inverted residuals without squeeze-and-excitation, in five sizes.

Paper: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (Tan and Le, ICML 2019), table 1 and
section 4, as released for mobile devices in the TensorFlow repository ``tpu``, ``models/official/efficientnet/lite``
(2020). Unlike the paper, the release leaves out squeeze-and-excitation and replaces SiLU by ReLU6, and its larger
networks keep the stem, the head and the depths of the first and the last stage. Unlike the release, the stochastic
depth rate here reaches its maximum in the last block itself, and the dropout in front of the classifier belongs to the
classifier.

stem - seven stages of MBConv blocks - head (point-wise convolution)
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.archs.efficientnet_lite import NO_EXPANSION, EfficientNetLiteArch
from mmhybrid.models.backbones.base import HybridBackbone, LayerGroup, Output, drop_path_rates
from mmhybrid.models.families import Family, register_family
from mmhybrid.models.layers.basic import LayerConfig, layer_config
from mmhybrid.models.layers.copies import built
from mmhybrid.models.layers.order import sort_hidden
from mmhybrid.models.parts import Part, Piece, sides, strided
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import check_bool, check_float, check_int

STEM_STRIDE = 2
# Stride of the first block of each stage.
STRIDES = (1, 2, 2, 2, 1, 2, 1)
# Indices of the last stages at the strides 4, 8, 16 and 32, whose maps are the outputs.
OUTPUT_STAGES = (1, 2, 4, 6)
# A momentum of 0.99 in TensorFlow is 0.01 in torch.
NORM = {'type': 'BN', 'eps': 1e-3, 'momentum': 0.01}


class SameConv2d(nn.Conv2d):
    """A convolution with an odd kernel, padded as TensorFlow does: a side of the output has ceil(side / stride) pixels.

    If the number of rows or columns of zeros is odd, the bottom or right gets one more than the top or left. MMCV's
    ``Conv2dAdaptivePadding`` computes the same, but it branches on sizes, which fails in an export for any size, and
    it pads in a separate step at stride 1 too.
    """

    def __init__(self, in_width: int, width: int, kernel_size: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel_size // 2 if stride == 1 else 0
        super().__init__(in_width, width, kernel_size, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, ceil(H / stride), ceil(W / stride))."""
        kernel_size, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            rows, columns = (kernel_size - stride + (-side) % stride for side in x.shape[2:])
            x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return super().forward(x)


class MBConv(nn.Module):
    """An inverted residual: point-wise expansion, depth-wise convolution, and point-wise projection without activation.

    A block with ratio 1 has no expansion, and its depth-wise convolution works on the channels of its input. These do
    not correspond to the hidden channels of a block with another ratio, so its layers have other names, which keeps a
    supernet from sharing weights between the two.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        kernel_size: int,
        stride: int,
        expand_ratio: float,
        drop_path: float,
        layers: LayerConfig,
    ) -> None:
        super().__init__()
        hidden = hidden_width(in_width, expand_ratio)
        depthwise = layers.conv(hidden, hidden, kernel_size, stride, groups=hidden)
        project = layers.conv(hidden, width, act=False)
        self.expands = expand_ratio != NO_EXPANSION
        self.layers = nn.Sequential(
            OrderedDict(expand=layers.conv(in_width, hidden), depthwise=depthwise, project=project)
            if self.expands
            else OrderedDict(plain_depthwise=depthwise, plain_project=project)
        )
        self.drop_path = DropPath(drop_path)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, ceil(H / stride), ceil(W / stride)); adds ``x`` if the shape stays the same."""
        out: Tensor = self.layers(x)
        return x + self.drop_path(out) if self.stride == 1 and x.shape[1] == out.shape[1] else out

    def sort_channels(self) -> None:
        """Sort the hidden channels by importance."""
        if self.expands:
            expand, depthwise, project = self.layers.children()
            sort_hidden([*expand.children(), *depthwise.children()], next(project.children()))


def hidden_width(in_width: int, expand_ratio: float) -> int:
    """Return the hidden channels of a block."""
    return int(expand_ratio * in_width)


@MODELS.register_module()
class EfficientNetLite(HybridBackbone):
    """EfficientNet-Lite backbone: maps at strides 4, 8, 16 and 32.

    The outputs 0 to 3 are those of the stages 2, 3, 5 and 7. The released weights expect images normalised with the
    mean 127 and the standard deviation 128 in each channel.

    Args:
        arch: Name of a preset, or anything else that :meth:`EfficientNetLiteArch.parse` takes.
        in_channels: Channels of the input.
        out_indices: Indices of the outputs to return, from 0 to 3.
        head_conv: Whether a point-wise convolution widens the last output, as the classifier needs it; should be False
            for dense prediction.
        drop_path_rate: Stochastic depth rate of the last block; the rates grow linearly from 0 over all blocks. The
            release trains with 0.2.
        norm_cfg: Config of the norms behind convolutions; None for the released one, :data:`NORM`.
        act_cfg: Config of all activations; None for ReLU6.
        out_norm_cfg: Config of a norm for each output, for dense prediction; None for no norms.
        frozen_stages: See :class:`HybridBackbone` for this and the remaining arguments.
    """

    output_layers = (*HybridBackbone.output_layers, 'head_conv')

    def __init__(
        self,
        arch: str | Mapping[str, Any] | EfficientNetLiteArch = 'lite0',
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        head_conv: bool = True,
        drop_path_rate: float = 0.0,
        norm_cfg: Mapping[str, Any] | None = None,
        act_cfg: Mapping[str, Any] | None = None,
        out_norm_cfg: Mapping[str, Any] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(len(OUTPUT_STAGES), out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        self.arch = parsed = EfficientNetLiteArch.parse(arch)
        norm_cfg = layer_config('norm_cfg', NORM if norm_cfg is None else norm_cfg, 'BN')
        layers = LayerConfig(SameConv2d, norm_cfg, layer_config('act_cfg', act_cfg, 'ReLU6'))
        in_channels = check_int('in_channels', in_channels, 1)
        self.stem = layers.conv(in_channels, parsed.stem_width, 3, STEM_STRIDE)
        rates = iter(drop_path_rates(check_float('drop_path_rate', drop_path_rate, 0, 1), sum(parsed.depths)))
        self.stages = nn.ModuleList(
            nn.ModuleList(built(MBConv, *sizes, next(rates), layers) for sizes in blocks) for blocks in _blocks(parsed)
        )
        with_head = check_bool('head_conv', head_conv) and len(OUTPUT_STAGES) - 1 in self.out_indices
        self.head_conv = layers.conv(parsed.embed_dims[-1], parsed.head_width) if with_head else None
        self.build_output_norms(out_norm_cfg, None, [output.width for output in self.outputs(parsed)])
        self.finish()

    def init_weights(self) -> None:
        """Initialise the convolutions as the release does, unless ``init_cfg`` is given.

        Weights get a normal distribution of standard deviation sqrt(2 / fan_out), with the fan_out of one group.
        """
        if self.init_cfg is None:
            self.apply(_init_weights)
        super().init_weights()

    def layer_groups(self) -> list[LayerGroup]:
        """Return the stem, the blocks and the head."""
        groups = [LayerGroup(0, ('stem',))]
        for stage, depth in enumerate(self.arch.depths):
            frozen_from = 1 + next(i for i, last in enumerate(OUTPUT_STAGES) if stage <= last)
            groups += [LayerGroup(frozen_from, (f'stages.{stage}.{i}',)) for i in range(depth)]
        if self.head_conv is not None:
            groups.append(LayerGroup(len(OUTPUT_STAGES), ('head_conv',)))
        return groups

    def outputs(self, arch: EfficientNetLiteArch) -> tuple[Output, ...]:
        """Return the sizes of the outputs, of which the head widens the last."""
        widths = [arch.embed_dims[stage] for stage in OUTPUT_STAGES]
        if self.head_conv is not None:
            widths[-1] = arch.head_width
        return tuple(Output(*output) for output in zip(widths, (4, 8, 16, 32), strict=True))

    def parts(self, arch: EfficientNetLiteArch, input_shape: Sequence[int]) -> Iterator[Part]:
        """Yield the stem, the blocks and the head.

        The arguments are those of :meth:`HybridBackbone.parts`.
        """
        size = tuple(input_shape[1:])
        yield Part('stem', {'width': arch.stem_width, **sides(*size)}, 1, (('stem', tuple(input_shape)),))
        size = strided(size, STEM_STRIDE)
        for stage, blocks in enumerate(_blocks(arch)):
            for i, (in_width, width, kernel_size, stride, ratio) in enumerate(blocks):
                sizes = {'in': in_width, 'hidden': hidden_width(in_width, ratio), 'out': width, 'kernel': kernel_size}
                pieces: tuple[Piece, ...] = ((f'stages.{stage}.{i}', (in_width, *size)),)
                if i == 0 and stage in OUTPUT_STAGES[:-1]:
                    pieces += ((f'out_norms.{OUTPUT_STAGES.index(stage)}',),)
                variant = 'plain' if ratio == NO_EXPANSION else ''
                yield Part(f'stage{stage}' if i == 0 else 'mbconv', {**sizes, **sides(*size)}, 1, pieces, variant)
                size = strided(size, stride)
        width = arch.embed_dims[-1]
        sizes = {'in': width, 'out': arch.head_width}
        yield Part('head_conv', {**sizes, **sides(*size)}, 1, (('head_conv', (width, *size)), ('out_norms.3',)))

    def compute_outputs(self, x: Tensor) -> list[Tensor]:
        """Return the maps in ``out_indices`` for images (B, in_channels, H, W) with H and W >= 32."""
        x = self.stem(x)
        maps = []
        for blocks in self.stages:
            for block in blocks.children():
                x = self.run_block(block, x)
            maps.append(x)
        last = x if self.head_conv is None else self.head_conv(x)
        outputs = (*(maps[stage] for stage in OUTPUT_STAGES[:-1]), last)
        return [self.output_norm(index, outputs[index]) for index in self.out_indices]


def _blocks(arch: EfficientNetLiteArch) -> Iterator[list[tuple[int, int, int, int, float]]]:
    """Yield for each stage its blocks: channels of input and output, kernel size, stride and expansion ratio."""
    in_width = arch.stem_width
    for stage, width in enumerate(arch.embed_dims):
        blocks = []
        for i, (kernel_size, ratio) in enumerate(zip(arch.kernel_sizes[stage], arch.expand_ratios[stage], strict=True)):
            blocks.append((in_width, width, kernel_size, STRIDES[stage] if i == 0 else 1, ratio))
            in_width = width
        yield blocks


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))


register_family(
    Family(
        EfficientNetLite,
        EfficientNetLiteArch,
        {'type': 'EfficientNetLiteSpace'},
        'mmhybrid.models.released_efficientnet_lite',
        prefix='efficientnet-',
        folder='efficientnet-lite',
    )
)
