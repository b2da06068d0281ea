"""A feature pyramid out of one map, for plain backbones.

Paper: "Exploring Plain Vision Transformer Backbones for Object Detection" (Li et al., ECCV 2022), figure 2 c.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.models.layers.basic import build_norm
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import check_int


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Maps at 1/4, 1/2, 1, 2 (and 4) times the stride of the last input.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of every output.
        num_outs: 4, or 5 with a further map of every second pixel of the last one.
        norm_cfg: Norm behind the convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        num_outs: int = 5,
        norm_cfg: Mapping[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = dict(norm_cfg or {'type': 'LN2d'})
        self.num_outs = check_int('num_outs', num_outs, 4, 5)
        half, quarter = in_channels // 2, in_channels // 4
        self.scales = nn.ModuleList([
            nn.Sequential(
                nn.ConvTranspose2d(in_channels, half, 2, 2),
                build_norm(norm_cfg, half),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, 2, 2),
            ),
            nn.ConvTranspose2d(in_channels, half, 2, 2),
            nn.Identity(),
            nn.MaxPool2d(2, 2, ceil_mode=True),
        ])  # fmt: skip
        self.outputs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, out_channels, 1, bias=False),
                build_norm(norm_cfg, out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                build_norm(norm_cfg, out_channels),
            )
            for width in (quarter, half, in_channels, in_channels)
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of a backbone, the last of them (B, in_channels, H, W) -> ``num_outs`` maps, largest first."""
        outs = [output(scale(inputs[-1])) for scale, output in zip(self.scales, self.outputs, strict=True)]
        if self.num_outs == 5:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)
