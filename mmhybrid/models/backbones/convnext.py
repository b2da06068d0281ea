"""MMPretrain's ConvNeXt as an elastic backbone.

Papers: "A ConvNet for the 2020s" (Liu et al., CVPR 2022), "ConvNeXt V2" (Woo et al., CVPR 2023). The network is a
:class:`mmpretrain.models.ConvNeXt` and loads its weights; depths, kernels and hidden channels of blocks may be smaller.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmhybrid.archs.base import LARGEST, MOST_LAYERS
from mmhybrid.archs.elastic import ElasticArch
from mmhybrid.models.backbones.adapter import Adapter, BlockLayers, Stage
from mmhybrid.models.backbones.base import normalise_out_indices
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import check_bool, check_choice, check_int, check_keys, check_list

NUM_STAGES = 4


@MODELS.register_module()
class ElasticConvNeXt(Adapter):
    """ConvNeXt backbone of MMPretrain: maps at strides 4, 8, 16 and 32, or their means for a classifier.

    The arguments from ``in_channels`` to ``with_cp`` are those of :class:`mmpretrain.models.ConvNeXt`.

    Args:
        network: Architecture of the whole network, as the ``arch`` of MMPretrain's ConvNeXt: a name such as ``tiny``,
            or a dict of ``depths`` and ``channels``.
        arch: Part of the network to keep, as :meth:`ElasticArch.parse` takes it; None for the whole network.
        in_channels: Channels of the images.
        stem_patch_size: Kernel size and stride of the stem.
        linear_pw_conv: Whether linear layers compute the point-wise convolutions.
        use_grn: Whether blocks have global response normalisation (ConvNeXt V2).
        drop_path_rate: Stochastic depth rate of the last block of the whole network; the rates grow linearly from 0.
        layer_scale_init_value: Initial value of the layer scales; 0 for no layer scales.
        out_indices: Indices of the stages whose outputs are returned.
        gap_before_final_norm: Whether to return means over the map, (B, C), as in classification; should be False for
            dense prediction.
        with_cp: Whether to recompute activations in the backward pass instead of keeping them.
        frozen_stages: See :class:`HybridBackbone` for this and the remaining arguments.
    """

    block_layers = BlockLayers('depthwise_conv', ('pointwise_conv1', 'grn'), ('pointwise_conv2',))

    def __init__(
        self,
        network: str | Mapping[str, Any] = 'tiny',
        arch: str | Mapping[str, Any] | ElasticArch | None = None,
        in_channels: int = 3,
        stem_patch_size: int = 4,
        linear_pw_conv: bool = True,
        use_grn: bool = False,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        out_indices: Sequence[int] = (-1,),
        gap_before_final_norm: bool = True,
        with_cp: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        from mmpretrain.models import ConvNeXt  # here, since it takes seconds to import

        if isinstance(network, str):
            check_choice('network', network, sorted(ConvNeXt.arch_settings))
        else:
            check_keys('network', network, ('depths', 'channels'))
            for field, most in (('depths', MOST_LAYERS), ('channels', LARGEST)):
                for value in check_list(f'network.{field}', network[field], NUM_STAGES):
                    check_int(f'network.{field}', value, 1, most)
        indices = normalise_out_indices(out_indices, NUM_STAGES)
        whole = ConvNeXt(
            network if isinstance(network, str) else dict(network),
            in_channels,
            stem_patch_size,
            linear_pw_conv=linear_pw_conv,
            use_grn=use_grn,
            drop_path_rate=drop_path_rate,
            layer_scale_init_value=layer_scale_init_value,
            out_indices=list(indices),
            gap_before_final_norm=gap_before_final_norm,
            with_cp=check_bool('with_cp', with_cp),
        )
        stages = [
            Stage(f'stages.{i}', (f'downsample_layers.{i}',), (f'norm{i}',) if i in indices else ())
            for i in range(NUM_STAGES)
        ]
        super().__init__(whole, stages, arch, indices, frozen_stages, norm_eval, init_cfg)

    def compute_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the normalised outputs in ``out_indices`` for images (B, in_channels, H, W)."""
        outputs: tuple[Tensor, ...] = self.network(x)
        return outputs
