"""MMPretrain's ConvNeXt, made elastic from outside.

Papers: "A ConvNet for the 2020s" (Liu et al., CVPR 2022), "ConvNeXt V2" (Woo et al., CVPR 2023). The network is that of
:class:`mmpretrain.models.ConvNeXt`, whose weights it takes; depths, kernels and the channels inside the blocks may be
less.
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
    """ConvNeXt backbone of MMPretrain: maps at strides 4, 8, 16 and 32, or their mean as the classifier takes it.

    Args:
        network: The whole network, by what MMPretrain's ConvNeXt takes as its ``arch``: ``tiny``, or a dict of
            ``depths`` and ``channels``.
        arch: What to leave of it, see :class:`ElasticArch`; None for all.
        in_channels: Of the images; this and the following as in MMPretrain.
        stem_patch_size: Stride of the stem.
        linear_pw_conv: Compute point-wise convolutions by linear layers.
        use_grn: Global response normalization inside the blocks (ConvNeXt V2).
        drop_path_rate: Stochastic depth of the last block of the whole network, growing linearly.
        layer_scale_init_value: Of the layer scales; 0 for none.
        out_indices: Stages whose output is returned.
        gap_before_final_norm: Return means, (B, C), as in classification; dense prediction wants False.
        with_cp: Recompute activations in the backward pass.
        frozen_stages: See :class:`HybridBackbone`, as for the remaining arguments: -1 freezes nothing, 0 the stem.
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
        from mmpretrain.models import ConvNeXt  # seconds of imports

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
        """Images (B, in_channels, H, W) -> the outputs in ``out_indices``, normed."""
        outputs: tuple[Tensor, ...] = self.network(x)
        return outputs
