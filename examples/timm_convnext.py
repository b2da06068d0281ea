"""An adapter that makes timm's ConvNeXt elastic; docs/own_space.md explains each part."""

import timm

from mmhybrid.models.backbones.adapter import Adapter, BlockLayers, Stage
from mmhybrid.registry import MODELS


@MODELS.register_module()
class TimmConvNeXt(Adapter):
    """A ConvNeXt of timm by its name, with the input of its classifier as output: the normed mean of the last map."""

    block_layers = BlockLayers(kernel='conv_dw', before=('mlp.fc1', 'mlp.grn'), after=('mlp.fc2',))

    def __init__(self, model='convnext_atto', arch=None, frozen_stages=-1, norm_eval=False, init_cfg=None):
        network = timm.create_model(model, num_classes=0)
        stages = [
            Stage('stages.0.blocks', before=('stem',)),
            *(Stage(f'stages.{i}.blocks', before=(f'stages.{i}.downsample',)) for i in (1, 2)),
            Stage('stages.3.blocks', before=('stages.3.downsample',), after=('head',)),
        ]
        super().__init__(network, stages, arch, (-1,), frozen_stages, norm_eval, init_cfg)

    def compute_outputs(self, x):
        """Images (B, 3, H, W) -> (B, C)."""
        return [self.network.forward_head(self.network.forward_features(x), pre_logits=True)]
