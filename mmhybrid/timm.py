"""The presets in timm: ``import mmhybrid.timm``, then ``timm.create_model('glnet_4g', num_classes=10)``.

Names are those of the presets (``glnet_4g``, ``glit_tiny``, ``autovit_xxs``, ``efficientnetlite_lite0``: timm has an
``efficientnet_lite0`` of its own). Tensors are named as in MMPretrain's classifiers, so that checkpoints and
safetensors of these, converted ones too, are ``checkpoint_path`` of timm.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.init import trunc_normal_

from mmhybrid.archs import GLiTArch
from mmhybrid.models.backbones.base import HybridBackbone, normalise_out_indices
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.families import FAMILIES
from mmhybrid.models.presets import PUBLISHED, Preset
from mmhybrid.utils.checks import check_choice, check_float, check_int
from mmhybrid.utils.optional import require

require('timm', 'mmhybrid.timm')

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model  # noqa: E402

POOLS = ('avg', '')


class TimmClassifier(nn.Module):
    """A backbone and a linear layer behind its last output, with the methods that timm expects.

    Args:
        family: Name of one of :data:`FAMILIES`.
        arch: A preset, or a dict, of the family.
        img_size: Side of the images; GLiT's position embedding is made for it.
        num_classes: 0 for no classifier.
        in_chans: Channels of the images.
        global_pool: ``avg``, or '' for the last output as it is. GLiT takes its class token for ``avg``.
        drop_rate: Dropout in front of the classifier.
        drop_path_rate: Of the backbone.
        for_features: Leave out what a classifier alone needs: the wide last layer of AutoViT and of EfficientNet-Lite.
    """

    def __init__(
        self,
        family: str,
        arch: Any,
        img_size: int | Sequence[int],
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        for_features: bool = False,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {'in_channels': in_chans, 'drop_path_rate': drop_path_rate}
        if family == 'GLiT':
            options |= {'img_size': img_size, 'out_type': 'raw'}
        # each layer behind the outputs, but the norms, has an argument of its name
        own = [name for name in FAMILIES[family].backbone.output_layers if name not in HybridBackbone.output_layers]
        options |= dict.fromkeys(own, not for_features)
        num_stages = 4 if family != 'GLiT' else len(GLiTArch.parse(arch).blocks)
        self.backbone: HybridBackbone = FAMILIES[family].backbone(arch, out_indices=range(num_stages), **options)
        self.backbone.init_weights()
        self.family = family
        self.feature_info: list[dict[str, Any]] = [
            {'num_chs': width, 'reduction': stride, 'module': f'backbone.{stage}'}
            for stage, (width, stride) in enumerate(self.backbone.outputs(self.backbone.arch))
        ]
        self.num_features = self.head_hidden_size = self.feature_info[-1]['num_chs']
        self.drop_rate = check_float('drop_rate', drop_rate, 0, 1)
        self.reset_classifier(num_classes, global_pool)

    def get_classifier(self) -> nn.Module:
        """The linear layer."""
        return self.head.get_submodule(FAMILIES[self.family].classifier.removeprefix('head.'))

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier, of ``num_classes`` or none, into its place."""
        self.num_classes = check_int('num_classes', num_classes, 0)
        if global_pool is not None:
            self.global_pool = check_choice('global_pool', global_pool, POOLS)
        layer: nn.Module = nn.Identity()
        if num_classes > 0:
            layer = nn.Linear(self.num_features, num_classes)
            trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        for name in reversed(FAMILIES[self.family].classifier.split('.')[1:]):
            layer = nn.ModuleDict({name: layer})
        self.head = layer

    def forward_features(self, x: Tensor) -> Tensor:
        """Images -> the last output: a map (B, C, H, W); of GLiT class token and patches, (B, L, C)."""
        return self.backbone(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last output -> logits, or what the classifier takes."""
        if self.global_pool:
            x = x[:, 0] if self.family == 'GLiT' else x.mean((2, 3))
        x = nn.functional.dropout(x, self.drop_rate, self.training)
        return x if pre_logits or (not self.global_pool and self.num_classes == 0) else self.get_classifier()(x)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) -> logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> Any:
        """Images -> outputs of the backbone as maps (B, C, H, W), the last one normed.

        Args:
            x: Images.
            indices: Which outputs; None for all, a number for the last ones.
            norm: Accepted as timm does: the norm of the last output is always there, the others have none.
            stop_early: Accepted too: all of the network runs.
            output_fmt: ``NCHW``.
            intermediates_only: Without the last output as :meth:`forward_features` returns it.

        Returns:
            The maps, or the last output and the maps.
        """
        check_choice('output_fmt', getattr(output_fmt, 'value', output_fmt), ('NCHW',))  # timm gives an Enum
        taken = self._taken(indices)
        outputs = self.backbone(x)
        stride = self.feature_info[0]['reduction']
        size = [-(-side // stride) for side in x.shape[2:]]  # GLiT pads
        maps = [
            outputs[i][:, 1:].transpose(1, 2).unflatten(2, size).contiguous() if self.family == 'GLiT' else outputs[i]
            for i in taken
        ]
        return maps if intermediates_only else (outputs[-1], maps)

    def _taken(self, indices: int | list[int] | None) -> list[int]:
        """The outputs that are meant, in their order."""
        every = list(range(len(self.feature_info)))
        if indices is None:
            return every
        if isinstance(indices, int):
            return every[-check_int('indices', indices, 1, len(every)) :]
        return sorted(normalise_out_indices(indices, len(every)))

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Take the classifier out; blocks behind the last of ``indices`` stay, since the backbone runs as a whole."""
        if prune_head:
            self.reset_classifier(0, '')
        return self._taken(indices)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass."""
        self.backbone.with_cp = enable

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Parameters that the recipes do not decay, besides vectors: tokens and position embeddings."""
        return {name for name, _ in self.named_parameters() if name.endswith(('cls_token', 'pos_embed'))}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return a function that gives the depth of a parameter from its name, for layer-wise learning rates."""
        return lambda name: self.backbone.get_layer_depth(name, 'backbone.')[0]


def _default_cfg(preset: Preset) -> dict[str, Any]:
    family, side = preset.family, preset.image_size
    stride = 16 if family == 'GLiT' else 32
    network = build_on_meta({'type': f'mmhybrid.{family}', 'arch': preset.arch})
    first_conv = next(name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    return {
        'url': '',  # no weights are published: docs/use_it.md
        'num_classes': 1000,
        'input_size': (3, side, side),
        'pool_size': (-(-side // stride), -(-side // stride)),
        'fixed_input_size': False,
        'crop_pct': side / (side + 32),
        'interpolation': 'bicubic',
        'mean': tuple(value / 255 for value in preset.mean),
        'std': tuple(value / 255 for value in preset.std),
        'first_conv': f'backbone.{first_conv}',
        'classifier': FAMILIES[family].classifier,
        'license': 'apache-2.0',
    }


def _name(family: str, arch: str) -> str:
    return f'{family.lower()}_{arch.replace("-", "_")}'


def _entry_point(family: str, arch: str, side: int) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **options: Any) -> nn.Module:
        network = {'family': family, 'arch': arch, 'for_features': options.get('features_only', False)}
        return build_model_with_cfg(
            TimmClassifier,
            name,
            pretrained,
            feature_cfg={'out_indices': 3 if family == 'GLiT' else (0, 1, 2, 3), 'feature_cls': 'getter'},
            **{'img_size': side, **options, **network},
        )

    name = _name(family, arch)
    create.__name__ = create.__qualname__ = name
    create.__doc__ = f'{family} {arch} as a classifier of images of {side} x {side} pixels.'
    return create


default_cfgs = generate_default_cfgs({_name(preset.family, preset.arch): _default_cfg(preset) for preset in PUBLISHED})
for _preset in PUBLISHED:
    register_model(_entry_point(_preset.family, _preset.arch, _preset.image_size))
