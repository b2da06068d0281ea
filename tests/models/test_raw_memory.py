"""Maps as kernels read them that take memory for what it is: each layer makes of them what it makes of a copy.

The copies are laid out anew, element by element, in the default memory format. torchvision's operators copy their
inputs and so hide a wrong layout; MMCV's compiled ones do not.
"""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any

import pytest
import torch
from layouts import assert_contiguous
from mmengine.config import Config
from torch import Tensor, nn

from mmhybrid.models.families import FAMILIES
from mmhybrid.models.necks import SimpleFeaturePyramid
from mmhybrid.registry import MODELS
from mmhybrid.torch_api import TORCH

CONFIGS = Path(__file__).parents[2] / 'configs'
FOLDERS = [family.config_folder for family in FAMILIES.values()]
CHANNELS = 32
Layer = Callable[[Sequence[Tensor]], Iterable[Tensor]]


def operators_are_compiled() -> bool:
    """Whether ``mmcv._ext`` is MMCV's own extension and nothing in its place."""
    spec = importlib.util.find_spec('mmcv._ext')
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)


pytestmark = pytest.mark.dense
compiled = pytest.mark.skipif(
    not operators_are_compiled(), reason="needs MMCV's compiled operators: others copy what they read"
)


@cache
def backbone(name: str) -> nn.Module:
    """A demo network for dense prediction; with ``supernet``, the narrowest subnet behind outputs of the widest."""
    family = name.removesuffix('-supernet')
    base = Config.fromfile(CONFIGS / f'_base_/demo/{family}.py')
    torch.manual_seed(0)
    if family != name:
        config = Config.fromfile(CONFIGS / f'demo/{family}_supernet.py').model.architecture.backbone
        model = MODELS.build({**config, 'backbone': {**config.backbone, **base.dense}})
        model.set_arch(model.space.smallest())
    else:
        model = MODELS.build({**base.backbone, **base.dense})
    model.init_weights()
    return model.eval()


BACKBONES = [f'{family}{kind}' for family in FOLDERS for kind in ('', '-supernet')]
each_backbone = pytest.mark.parametrize('name', BACKBONES)


def image(height: int = 128, width: int = 96) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def anew(x: Tensor) -> Tensor:
    """A copy in the default memory format, whatever the original's."""
    return torch.empty(x.shape).copy_(x)


def compare(model: nn.Module, make_layer: Callable[[Sequence[int]], Layer], images: Tensor | None = None) -> None:
    """What the layer makes of the model's maps and of copies of them: outputs, and gradients of all there is."""
    images = image() if images is None else images
    results = []
    for prepare in (lambda x: x, anew):
        model.zero_grad()
        x = images.clone().requires_grad_()
        maps = tuple(prepare(out) for out in model(x))
        torch.manual_seed(2)
        layer = make_layer([out.shape[1] for out in maps])
        modules = [model, *([layer] if isinstance(layer, nn.Module) else [])]
        outs = tuple(layer(maps))
        generator = torch.Generator().manual_seed(3)
        sum((out * torch.randn(out.shape, generator=generator)).sum() for out in outs).backward()
        grads = {f'{i}.{name}': p.grad for i, module in enumerate(modules) for name, p in module.named_parameters()}
        assert x.grad is not None
        assert x.grad.any()
        results.append((outs, x.grad, {name: grad for name, grad in grads.items() if grad is not None}))
    (outs, grad, grads), (copied_outs, copied_grad, copied_grads) = results
    torch.testing.assert_close(outs, copied_outs)
    torch.testing.assert_close(grad, copied_grad)
    torch.testing.assert_close(grads, copied_grads)


class OnEach(nn.Module):
    """A layer of its own for each map."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [layer(x) for layer, x in zip(self.layers, maps, strict=True)]


def boxes(x: Tensor) -> Tensor:
    """Regions over all of each map, as RoIAlign takes them: the image's index and the corners in pixels."""
    height, width = x.shape[-2:]
    return torch.tensor(
        [[0, 0, 0, width, height], [1, 0.3, 0.2, 0.9 * width, 0.6 * height], [1, 0.5 * width, 0, width, 0.8 * height]]
    )


class RoIs(nn.Module):
    """MMCV's RoIAlign, or its rotated kind, over each of the maps."""

    def __init__(self, rotated: bool = False) -> None:
        super().__init__()
        from mmcv.ops import RoIAlign, RoIAlignRotated

        self.rotated = rotated
        self.align = RoIAlignRotated(7, 1.0, 2) if rotated else RoIAlign(7, 1.0)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [self.align(x, self.regions(x)) for x in maps]

    def regions(self, x: Tensor) -> Tensor:
        rois = boxes(x)
        if not self.rotated:
            return rois
        centres, sizes = (rois[:, 1:3] + rois[:, 3:]) / 2, rois[:, 3:] - rois[:, 1:3]
        return torch.cat((rois[:, :1], centres, sizes, torch.tensor([[0.0], [0.3], [1.0]])), dim=1)


class AlignedFeatures(nn.Module):
    """MMCV's alignment of features with rotated boxes, one at each pixel."""

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        from mmcv.ops.rotated_feature_align import rotated_feature_align

        generator = torch.Generator().manual_seed(4)
        outs = []
        for x in maps:
            batch, _, height, width = x.shape
            boxes = torch.rand(batch, height, width, 5, generator=generator) * torch.tensor([width, height, 3, 3, 1])
            outs.append(rotated_feature_align(x, boxes, spatial_scale=1.0, points=5))
        return outs


def deformable(channels: Sequence[int], version: int) -> nn.Module:
    """Deformable convolutions, behind random offsets: those of a new layer are zero."""
    from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack

    kind = (DeformConv2dPack, ModulatedDeformConv2dPack)[version - 1]
    layers = [kind(width, 8, 3, padding=1) for width in channels]
    for layer in layers:
        nn.init.normal_(layer.conv_offset.weight, std=0.1)
    return OnEach(layers)


class Attention(nn.Module):
    """MMCV's multi-scale deformable attention over all maps, flattened as Deformable DETR flattens them."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        from mmcv.ops import MultiScaleDeformableAttention

        self.projections = nn.ModuleList(nn.Conv2d(width, CHANNELS, 1) for width in channels)
        self.attention = MultiScaleDeformableAttention(CHANNELS, 4, len(channels), batch_first=True)
        nn.init.normal_(self.attention.sampling_offsets.weight, std=0.5)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = [projection(x) for projection, x in zip(self.projections, maps, strict=True)]
        shapes = torch.tensor([x.shape[-2:] for x in maps])
        tokens = torch.cat([x.view(len(x), CHANNELS, -1).transpose(1, 2) for x in maps], dim=1)
        starts = torch.cat((shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]))
        points = torch.rand(len(tokens), tokens.shape[1], len(maps), 2, generator=torch.Generator().manual_seed(4))
        return [
            self.attention(
                tokens, value=tokens, reference_points=points, spatial_shapes=shapes, level_start_index=starts
            )
        ]


def of_mmcv(name: str, channels: Sequence[int]) -> nn.Module:
    from mmcv import cnn, ops

    kinds = {'NonLocal2d': lambda width: cnn.NonLocal2d(width, zeros_init=False), 'CrissCrossAttention': None}
    build = kinds[name] or getattr(ops, name)
    layers = OnEach(build(width) for width in channels)
    for scale in (p for key, p in layers.named_parameters() if 'gamma' in key):
        nn.init.ones_(scale)
    return layers


class Level(nn.Module):
    """A segmentation head on the finest of the maps."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head.eval()

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        out = self.head(maps[:1])
        return [x for x in (out if isinstance(out, tuple) else (out,)) if x.requires_grad]


def of_mmseg(channels: Sequence[int], **head: Any) -> nn.Module:
    """A head of MMSegmentation on the finest map, or with ``in_channels`` on all of them."""
    from mmseg.registry import MODELS as HEADS

    norm_cfg = {'type': 'BN'}
    settings = {'in_channels': channels[0], 'in_index': 0, 'channels': CHANNELS, 'num_classes': 4, **head}
    return Level(HEADS.build({**settings, 'norm_cfg': norm_cfg, 'dropout_ratio': 0.0, '_scope_': 'mmseg'}))


class WithPredictions(nn.Module):
    """OCRNet's head on the finest map, with what an auxiliary head predicts."""

    def __init__(self, head: nn.Module, width: int) -> None:
        super().__init__()
        self.head, self.predict = head.head, nn.Conv2d(width, 4, 1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [self.head(maps[:1], self.predict(maps[0]))]


def of_mmdet(kind: str, channels: Sequence[int], **settings: Any) -> nn.Module:
    from mmdet.registry import MODELS as LAYERS

    return LAYERS.build({'type': kind, **settings, '_scope_': 'mmdet'}).eval()


class Pyramid(nn.Module):
    """A neck to five maps, and what comes behind it."""

    def __init__(self, channels: Sequence[int], head: nn.Module | None = None, **neck: Any) -> None:
        super().__init__()
        if len(channels) == 1:
            self.neck: nn.Module = SimpleFeaturePyramid(channels[0], CHANNELS)
        else:
            settings = {'in_channels': list(channels), 'out_channels': CHANNELS, 'num_outs': 5, **neck}
            self.neck = of_mmdet(settings.pop('type', 'FPN'), channels, **settings)
        self.head = head

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        out = self.neck(maps)
        if self.head is not None:
            out = self.head(out)
        return list(_flat(out))


def _flat(out: Any) -> Iterable[Tensor]:
    if isinstance(out, Tensor):
        yield out
    else:
        for part in out:
            yield from _flat(part)


def dense_head(kind: str, **settings: Any) -> nn.Module:
    return of_mmdet(kind, (), num_classes=4, in_channels=CHANNELS, feat_channels=CHANNELS, stacked_convs=1, **settings)


class OverAll(nn.Module):
    """Mask R-CNN's extractor over the maps of a pyramid, and its mask head."""

    def __init__(self) -> None:
        super().__init__()
        layer = {'type': 'RoIAlign', 'output_size': 7, 'sampling_ratio': 0}
        strides = [4, 8, 16, 32]
        self.extractor = of_mmdet(
            'SingleRoIExtractor', (), roi_layer=layer, out_channels=CHANNELS, featmap_strides=strides, finest_scale=16
        )
        self.head = of_mmdet(
            'FCNMaskHead', (), num_convs=1, in_channels=CHANNELS, conv_out_channels=CHANNELS, num_classes=4
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        rois = torch.tensor([[0.0, 2, 3, 30, 29], [1, 0, 0, 64, 96], [1, 10, 20, 50, 60], [0, 5, 5, 16, 12]])
        features = self.extractor(maps[:4], rois)
        return [features, self.head(features)]


MMCV = {
    'RoIAlign': lambda channels: RoIs(),
    'RoIAlignRotated': lambda channels: RoIs(rotated=True),
    'DeformConv2d': lambda channels: deformable(channels, 1),
    'ModulatedDeformConv2d': lambda channels: deformable(channels, 2),
    'rotated_feature_align': lambda channels: AlignedFeatures(),
    'MultiScaleDeformableAttention': Attention,
    'CrissCrossAttention': lambda channels: of_mmcv('CrissCrossAttention', channels),
    'NonLocal2d': lambda channels: of_mmcv('NonLocal2d', channels),
}
MMDET = {
    'FPN': Pyramid,
    'FPN and RoIAlign': lambda channels: Pyramid(channels, RoIs()),
    'FPN and mask head': lambda channels: Pyramid(channels, OverAll()),
    'PAFPN': lambda channels: Pyramid(channels, type='PAFPN'),
    'DyHead': lambda channels: Pyramid(channels, of_mmdet('DyHead', (), in_channels=CHANNELS, out_channels=CHANNELS)),
    'RetinaHead': lambda channels: Pyramid(channels, dense_head('RetinaHead')),
    'RepPointsHead': lambda channels: Pyramid(channels, dense_head('RepPointsHead', point_feat_channels=CHANNELS)),
    'VFNetHead': lambda channels: Pyramid(channels, dense_head('VFNetHead')),
}
MMSEG = {
    'NLHead': lambda channels: of_mmseg(channels, type='NLHead'),
    'DNLHead': lambda channels: of_mmseg(channels, type='DNLHead'),
    'CCHead': lambda channels: of_mmseg(channels, type='CCHead'),
    'EMAHead': lambda channels: of_mmseg(
        channels, type='EMAHead', ema_channels=CHANNELS, num_bases=8, num_stages=2, momentum=0.1
    ),
    'EncHead': lambda channels: of_mmseg([channels[:1]], type='EncHead', num_codes=4, in_index=[0]),
    'PSAHead': lambda channels: of_mmseg(
        channels, type='PSAHead', mask_size=(31, 23), compact=False, psa_softmax=False
    ),
    'OCRHead': lambda channels: WithPredictions(of_mmseg(channels, type='OCRHead', ocr_channels=CHANNELS), channels[0]),
}


@each_backbone
def test_maps_are_contiguous(name: str) -> None:
    """What the demo's networks return, and the narrowest subnets behind outputs of the widest."""
    assert_contiguous(backbone(name)(image()))


NO_KERNEL = {'CrissCrossAttention', 'NonLocal2d', 'FPN', 'PAFPN', 'RetinaHead'} | MMSEG.keys() - {'PSAHead'}


def layers(names: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise; those that run a kernel of MMCV need the compiled one."""
    return pytest.mark.parametrize(
        'layer', [pytest.param(name, marks=() if name in NO_KERNEL else compiled) for name in names]
    )


@each_backbone
@layers(MMCV)
def test_layers_of_mmcv(name: str, layer: str) -> None:
    compare(backbone(name), MMCV[layer])


@each_backbone
@layers(MMDET)
def test_layers_of_mmdet(name: str, layer: str) -> None:
    compare(backbone(name), MMDET[layer])


@each_backbone
@layers(MMSEG)
def test_layers_of_mmseg(name: str, layer: str) -> None:
    if layer == 'DNLHead' and TORCH < (2, 6):
        pytest.skip('its gradients need torch 2.6, whatever the backbone')
    compare(backbone(name), MMSEG[layer])
