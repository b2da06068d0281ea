"""A feature pyramid from a single map, for plain backbones.

Paper: "Exploring Plain Vision Transformer Backbones for Object Detection" (Li et al., ECCV 2022), figure 2 c.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.models.layers.basic import build_norm, layer_config, with_contiguous_grad
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import check_int


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Neck with maps at 1/4, 1/2, 1 and 2 times the stride of the last input, and coarser ones.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of every output.
        num_outs: Number of outputs, from ``4 - start_level`` to 5. Each output after the one of twice the stride takes
            every second row and column of the one before.
        norm_cfg: Config of the norms behind convolutions; None for ``LN2d``.
        start_level: Index of the first output: 0, or 1 to begin at 1/2 of the stride, as one-stage detectors do.
        init_cfg: Initialisation config of MMEngine.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        num_outs: int = 5,
        norm_cfg: Mapping[str, Any] | None = None,
        start_level: int = 0,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = layer_config('norm_cfg', norm_cfg, 'LN2d')
        start_level = check_int('start_level', start_level, 0, 1)
        self.num_outs = check_int('num_outs', num_outs, 4 - start_level, 5)
        half, quarter = in_channels // 2, in_channels // 4
        scales = [
            nn.Sequential(
                nn.ConvTranspose2d(in_channels, half, 2, 2),
                build_norm(norm_cfg, half),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, 2, 2),
            ),
            nn.ConvTranspose2d(in_channels, half, 2, 2),
            nn.Identity(),
            nn.MaxPool2d(2, 2, ceil_mode=True),
        ]
        widths = (quarter, half, in_channels, in_channels)
        self.scales = nn.ModuleList(scales[start_level:])
        self.outputs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, out_channels, 1, bias=False),
                build_norm(norm_cfg, out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                build_norm(norm_cfg, out_channels),
            )
            for width in widths[start_level:]
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return ``num_outs`` maps, the largest first, from the last of a backbone's maps, (B, in_channels, H, W).

        Each output is contiguous, and so is the gradient of the input; :meth:`HybridBackbone.forward` says why.
        """
        x = with_contiguous_grad(inputs[-1])
        outs = [output(scale(x)).contiguous() for scale, output in zip(self.scales, self.outputs, strict=True)]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)
