"""Costs of whole detectors and segmentors, held against MMEngine's counter and against the built models."""

import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn

from mmhybrid.apis.configs import load_config
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.surroundings import KIND, Surroundings, described, surroundings_of
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import NOMINAL, AnalyticLatency
from mmhybrid.models.backbones.base import Output
from mmhybrid.models.backbones.glnet import GLNet
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.fitting import with_widths
from mmhybrid.registry import SEARCH_SPACES

SIZE = (96, 160)
# Convolutions alone, which every counter knows.
LITE = {'type': 'mmhybrid.EfficientNetLiteSpace', 'resolutions': [224], 'head_widths': [1280]}
LITE_BACKBONE = {
    'type': 'mmhybrid.EfficientNetLite',
    'out_indices': (0, 1, 2, 3),
    'out_norm_cfg': {'type': 'BN'},
    'head_conv': False,
}
GLNET = {
    'type': 'mmhybrid.GLNetSpace',
    'widths': [[32], [32, 64], [64, 96], [96, 128]],
    'depths': [[1], [1], [1, 2], [1]],
    'num_slots': [9],
}
GLNET_BACKBONE = {'type': 'mmhybrid.GLNet', 'out_indices': (0, 1, 2, 3), 'out_norm_cfg': {'type': 'LN2d'}}
MODELS_AROUND = {
    'retinanet': 'glnet/retinanet_glnet_4g_1x_coco.py',
    'rtmdet': 'demo/glnet_rtmdet_supernet.py',
    'semantic-fpn': 'glnet/semantic-fpn_glnet_4g_80k_ade20k.py',
    'upernet': 'glnet/upernet_glnet_4g_160k_ade20k.py',
}
PRODUCTS = ('conv', 'addmm', 'linear', 'matmul', 'bmm', 'einsum')


def model_of(name: str, space: Mapping[str, Any], backbone: Mapping[str, Any]) -> tuple[dict[str, Any], Config]:
    """A one-shot model with the neck and heads of a shipped config."""
    cfg = load_config(f'configs/{name}')
    theirs = cfg.model.get('architecture', cfg.model)
    indices = theirs.backbone.get('backbone', theirs.backbone).get('out_indices')
    backbone = {**backbone, 'out_indices': indices}
    supernet = {'type': 'mmhybrid.Supernet', 'space': space, 'backbone': backbone}
    return {'type': 'mmhybrid.OneShot', 'architecture': {**theirs, 'backbone': supernet}}, cfg


def standalone(model: Mapping[str, Any], cfg: Config, arch: Any) -> Any:
    """The model of ``arch`` as it is trained by itself, but for the values of its weights."""
    architecture = model['architecture']
    network = {**architecture['backbone']['backbone'], 'arch': arch}
    with torch.no_grad():
        images = torch.empty(1, 3, 64, 64, device='meta')
        widths = [out.shape[1] for out in build_on_meta(network).eval()(images)]
    config = {**with_widths(architecture, widths), 'backbone': network, '_scope_': cfg.default_scope}
    config.pop('data_preprocessor', None)
    return build_on_meta(config).eval()


@pytest.mark.parametrize('name', MODELS_AROUND)
def test_whole_models_are_what_mmengine_counts(name: str) -> None:
    """Images are not square; the widths of all outputs differ between the networks."""
    model, cfg = model_of(MODELS_AROUND[name], LITE, LITE_BACKBONE)
    workload = Workload.of_model(model, SIZE, cfg.default_scope)
    estimate, rng, widths = Estimator(workload), random.Random(0), set()
    for arch in (workload.space.largest(), workload.space.sample(rng)):
        network = standalone(model, cfg, workload.space.decode(arch)).to_empty(device='cpu')
        with torch.no_grad():
            counted = FlopAnalyzer(network, (torch.zeros(1, 3, *SIZE),))
            counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            macs = sum(count for kind, count in counted.by_operator().items() if kind in PRODUCTS)
        cost = estimate(arch)
        assert cost.macs_m == macs / 1e6
        assert cost.params_m == sum(parameter.numel() for parameter in network.parameters()) / 1e6
        widths.add(tuple(part.key for part in workload.list_parts(arch) if part.kind == KIND))
    assert len(widths) == 2


@pytest.mark.parametrize('name', [*MODELS_AROUND.values(), 'glnet/mask-rcnn_glnet_4g_1x_coco.py'])
def test_networks_with_attention_and_two_stages_too(name: str) -> None:
    model, cfg = model_of(name, GLNET, GLNET_BACKBONE)
    workload = Workload.of_model(model, SIZE, cfg.default_scope)
    estimate, rng = Estimator(workload), random.Random(1)
    for arch in (workload.space.smallest(), *(workload.space.sample(rng) for _ in range(3))):
        network = standalone(model, cfg, workload.space.decode(arch))
        counted = count_complexity(network, (3, *SIZE))
        assert (estimate(arch).params_m, estimate(arch).macs_m) == (counted.params / 1e6, counted.macs / 1e6)


GENES: dict[str, dict[str, Any]] = {
    'rtmdet': {
        'neck': {'out_channels': [16, 32, 48]},
        'bbox_head': {'feat_channels': [24, 48], 'stacked_convs': [1, 2]},
    },
    'retinanet': {
        'neck': {'out_channels': [64, 128]},
        'bbox_head': {'feat_channels': [64, 128], 'stacked_convs': [1, 2, 4]},
    },
    'semantic-fpn': {'neck': {'out_channels': [64, 128]}, 'decode_head': {'channels': [32, 128]}},
}


def with_sizes(architecture: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The config as one would write it with these sizes."""
    config = Config({'model': dict(architecture)}).to_dict()['model']
    for name, value in settings.items():
        part, field = name.split('.')
        config[part][field] = value
    head = config['bbox_head' if 'bbox_head' in config else 'decode_head']
    width = settings['neck.out_channels']
    head['in_channels'] = [width] * len(head['in_channels']) if isinstance(head['in_channels'], list) else width
    return config


@pytest.mark.parametrize('name', GENES)
def test_sizes_of_necks_and_heads_count(name: str) -> None:
    """All parts of a random whole model against the built one, counted as a whole and by MMEngine."""
    model, cfg = model_of(MODELS_AROUND[name], LITE, LITE_BACKBONE)
    plain = model['architecture']
    model = {**model, 'genes': GENES[name]}
    workload = Workload.of_model(model, SIZE, cfg.default_scope)
    estimate, rng = Estimator(workload), random.Random(0)
    for place, arch in enumerate((workload.space.smallest(), *(workload.space.sample(rng) for _ in range(6)))):
        sizes = {'architecture': with_sizes(plain, workload.space.settings(arch))}
        network = standalone(sizes, cfg, workload.space.decode(arch))
        counted, cost = count_complexity(network, (3, *SIZE)), estimate(arch)
        assert (cost.params_m, cost.macs_m) == (counted.params / 1e6, counted.macs / 1e6)
        if place < 2:
            with torch.no_grad():
                by_mmengine = FlopAnalyzer(network.to_empty(device='cpu'), (torch.zeros(1, 3, *SIZE),))
                by_mmengine.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
                macs = sum(count for kind, count in by_mmengine.by_operator().items() if kind in PRODUCTS)
            assert cost.macs_m == macs / 1e6


def test_resolutions_count() -> None:
    """Whatever size a search is told, networks of several resolutions have their own."""
    cfg = load_config(f'configs/{MODELS_AROUND["rtmdet"]}')
    model = {**cfg.model, 'genes': {'resolution': [64, 96]}}
    workload = Workload.of_model(model, (128, 128), cfg.default_scope)
    assert workload.sizes() == [64, 96]
    estimate = Estimator(workload)
    for arch in (workload.space.smallest(), workload.space.largest()):
        network = standalone(model, cfg, workload.space.decode(arch))
        counted = count_complexity(network, (3, arch['resolution'], arch['resolution']))
        assert (estimate(arch).params_m, estimate(arch).macs_m) == (counted.params / 1e6, counted.macs / 1e6)


def test_sizes_that_have_nothing_to_do_with_each_other_are_other_parts() -> None:
    """What reads the neck depends on both widths, what follows on that of the head, and a deeper layer on the depth."""
    cfg = load_config(f'configs/{MODELS_AROUND["rtmdet"]}')
    workload = Workload.of_model({**cfg.model, 'genes': GENES['rtmdet']}, SIZE, cfg.default_scope)
    names = ('neck.out_channels', 'bbox_head.feat_channels', 'bbox_head.stacked_convs')
    found = {
        tuple(name for name in names if name in part.sizes)
        for part in workload.list_parts(workload.space.largest())
        if part.kind == KIND
    }
    assert found == {(), names[:1], names[1:2], names[:2], names[1:]}
    network = workload.build_network(workload.space.smallest())
    with torch.no_grad():
        scores, _ = network(torch.zeros(1, 3, *SIZE))
    assert [level.shape[-2:] for level in scores] == [(12, 20), (6, 10), (3, 5)]
    sizes = [tensor.shape for tensor in network.model.bbox_head.cls_convs[0].state_dict().values()]
    assert sizes[0] == (24, 16, 3, 3)


@pytest.mark.parametrize(
    ('name', 'groups'), [('retinanet', {(), (0,), (1,), (2,)}), ('rtmdet', {(), (0,), (1,), (2,), (0, 1), (1, 2)})]
)
def test_parts_depend_on_few_widths(name: str, groups: set[tuple[int, ...]]) -> None:
    """FPN has a lateral layer for each output; each stage of RTMDet's neck reads one output, or two that meet."""
    cfg = load_config(f'configs/{MODELS_AROUND[name]}')
    around = Surroundings(surroundings_of(cfg.model.get('architecture', cfg.model), cfg.default_scope) or {})
    maps, image = [(40, 12, 20), (56, 6, 10), (88, 3, 5)], (3, *SIZE)
    parts = around.parts(maps, image)
    found = {tuple(int(size.removeprefix('out')) for size in part.sizes if size.startswith('out')) for part in parts}
    assert found == groups
    other = around.parts([(48, 12, 20), (56, 6, 10), (88, 3, 5)], image)
    changed = {part.key for part in parts} - {part.key for part in other}
    assert changed == {part.key for part in parts if 'out0' in part.sizes}


def test_where_widths_never_change_all_networks_have_the_same_parts() -> None:
    """A space around a network keeps its widths: all networks have the same neck and head."""
    cfg = load_config(f'configs/{MODELS_AROUND["rtmdet"]}')
    workload = Workload.of_model(cfg.model, SIZE, cfg.default_scope)
    rng = random.Random(0)
    keys = {
        tuple(part.key for part in workload.list_parts(workload.space.sample(rng)) if part.kind == KIND)
        for _ in range(20)
    }
    assert len(keys) == 1


def test_latencies_are_of_the_whole_model() -> None:
    cfg = load_config(f'configs/{MODELS_AROUND["rtmdet"]}')
    supernet = cfg.model.architecture.backbone
    space, model = SEARCH_SPACES.build(dict(supernet.space)), AnalyticLatency(NOMINAL)
    whole = Estimator(Workload.of_model(cfg.model, SIZE, cfg.default_scope), model)(space.largest())
    backbone = Estimator(Workload(space, supernet.backbone, SIZE), model)(space.largest())
    assert (whole.latency_ms or 0) > 1.2 * (backbone.latency_ms or 0)
    network = Workload.of_model(cfg.model, SIZE, cfg.default_scope).build_network(space.largest())
    with torch.no_grad():
        scores, boxes = network(torch.zeros(1, 3, *SIZE))
    assert [tuple(level.shape[-2:]) for level in scores] == [(12, 20), (6, 10), (3, 5)]
    assert {level.shape[1] for level in boxes} == {4}


def test_what_a_host_cannot_run_is_counted_by_its_backbone() -> None:
    cfg = load_config(f'configs/{MODELS_AROUND["rtmdet"]}')
    model = cfg.model.to_dict()
    model['architecture']['bbox_head']['type'] = 'DETRHead'
    with pytest.warns(UserWarning, match='the costs are those of the backbone alone, because RTMDet cannot be counted'):
        workload = Workload.of_model(model, SIZE, cfg.default_scope)
    assert workload.to_config().around is None


def test_classifiers_have_no_surroundings() -> None:
    cfg = load_config('configs/demo/glnet_supernet.py')
    assert surroundings_of(cfg.model.architecture, cfg.default_scope) is None


def test_losses_and_training_are_no_part_of_what_is_compared() -> None:
    config = {'type': 'A', 'bbox_head': {'loss_cls': {'weight': 2}, 'convs': (1, 2)}, 'test_cfg': {'nms_pre': 1}}
    assert described(config) == {'type': 'A', 'bbox_head': {'convs': [1, 2]}}


def test_maps_have_to_be_as_large_as_their_strides_say(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = load_config(f'configs/{MODELS_AROUND["rtmdet"]}')
    told = GLNet.outputs
    monkeypatch.setattr(GLNet, 'outputs', lambda self, arch: tuple(Output(o.width, 4) for o in told(self, arch)))
    with pytest.raises(ValueError, match=r'input_size: got .* allowed: a multiple of the strides'):
        Workload.of_model(cfg.model, SIZE, cfg.default_scope)


@ROOT_MODELS.register_module(force=True)
class ShortcutHead(nn.Module):
    """It projects where widths differ, as the shortcuts of residual blocks do."""

    def __init__(self, in_channels: int, channels: int = 64) -> None:
        super().__init__()
        self.proj = nn.Identity() if in_channels == channels else nn.Conv2d(in_channels, channels, 1, bias=False)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.conv(self.proj(maps[-1]))


@ROOT_MODELS.register_module(force=True)
class ShortcutModel(BaseModel):
    def __init__(self, backbone: Mapping[str, Any], decode_head: Mapping[str, Any]) -> None:
        super().__init__()
        self.backbone = ROOT_MODELS.build(backbone)
        self.decode_head = ROOT_MODELS.build(decode_head)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Tensor:
        return self.decode_head(self.backbone(inputs))


def test_layers_that_only_some_widths_have_are_counted_or_refused() -> None:
    """Weights of 1 x 1 and 3 x 3 convolutions, at each of 8 x 8 places; at 64 channels the former is left out."""
    model = {'type': 'ShortcutModel', 'decode_head': {'type': 'ShortcutHead', 'in_channels': None}}
    around = Surroundings(model)
    for width in (64, 48, 96):  # the first as others have no layer: all is one part
        (cost,) = around.costs([(width, 8, 8)], (3, 64, 64)).values()
        weights = 9 * 64 * 64 + (0 if width == 64 else 64 * width)
        assert (cost.params, cost.macs) == (weights, 64 * weights)
    around = Surroundings(model)
    around.costs([(48, 8, 8)], (3, 64, 64))
    with pytest.raises(ValueError, match=r'widths of the backbone: got \[64\], allowed: widths at which'):
        around.costs([(64, 8, 8)], (3, 64, 64))
