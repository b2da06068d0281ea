"""An estimate is what building and counting the network gives."""

import random

import pytest
import torch
from torch import nn

from mmhybrid.counting.complexity import count_complexity
from mmhybrid.counting.estimator import Cost, Estimator
from mmhybrid.counting.operations import PartCost
from mmhybrid.counting.workload import Workload, num_classes_of
from mmhybrid.latency.analytic import NOMINAL, AnalyticLatency
from mmhybrid.models.build import on_meta
from mmhybrid.registry import MODELS
from mmhybrid.space import AutoViTSpace, EfficientNetLiteSpace, GLiTSpace, GLNetSpace

SMALL_GLNET = {'widths': ((32,), (32, 64), (64,), (64, 96)), 'depths': ((1, 2), (1, 2), (1, 2, 3), (1, 2))}
SMALL = {
    'autovit': (AutoViTSpace(restrict={'stages.*.depth': [2, 3]}), 'AutoViT', {}, None),
    'autovit-transformer': (AutoViTSpace(transformer_only=True, restrict={'num_stages': 3}), 'AutoViT', {}, None),
    'autovit-dense': (
        AutoViTSpace(restrict={'num_stages': 4}),
        'AutoViT',
        {'mbpool': False, 'out_indices': (0, 1, 2, 3), 'out_norm_cfg': {'type': 'BN'}},
        None,
    ),
    'efficientnet-lite': (EfficientNetLiteSpace([96, 101]), 'EfficientNetLite', {}, None),
    'glit': (GLiTSpace(embed_dims=48, num_blocks=3), 'GLiT', {'patch_size': 8, 'img_size': 64}, 60),
    **{
        f'glit-{locality}': (
            GLiTSpace(48, 4, 3, locality=locality),
            'GLiT',
            {'patch_size': 8, 'img_size': 64, 'out_type': 'avg_featmap'},
            60,
        )
        for locality in ('conv2d', 'window')
    },
    'glnet': (GLNetSpace(**SMALL_GLNET), 'GLNet', {'norm_cfg': {'type': 'BN'}}, 96),
    'glnet-dense': (
        GLNetSpace(**SMALL_GLNET),
        'GLNet',
        {'out_indices': (1, 2, 3), 'out_norm_cfg': {'type': 'LN2d'}, 'in_channels': 4},
        75,
    ),
}
FULL = {
    'autovit-xxs': (AutoViTSpace('xxs'), 'AutoViT', {}, None),
    'autovit-xs': (AutoViTSpace('xs'), 'AutoViT', {}, None),
    'autovit-s': (AutoViTSpace('s'), 'AutoViT', {}, None),
    'autovit-union': (AutoViTSpace('union'), 'AutoViT', {}, None),
    'autovit-transformer': (AutoViTSpace('xxs', transformer_only=True), 'AutoViT', {}, None),
    'efficientnet-lite': (EfficientNetLiteSpace(), 'EfficientNetLite', {}, None),
    'glit': (GLiTSpace(), 'GLiT', {}, 224),
    'glit-detail': (GLiTSpace(384, 6, level='detail'), 'GLiT', {}, 224),
    'glnet': (GLNetSpace(), 'GLNet', {}, 224),
}


def check(space, family, backbone, input_size, num_archs):
    backbone = {'type': f'mmhybrid.{family}', **backbone}
    estimator, rng = Estimator(Workload(space, backbone, input_size)), random.Random(0)
    for arch in [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(num_archs - 2))]:
        with on_meta():
            network = MODELS.build({**backbone, 'arch': space.decode(arch)})
        side = arch.get('resolution', input_size)
        counted = count_complexity(network, (backbone.get('in_channels', 3), side, side))
        assert estimator(arch) == Cost(counted.params / 1e6, counted.macs / 1e6), arch


@pytest.mark.parametrize('case', SMALL)
def test_small_spaces(case):
    check(*SMALL[case], num_archs=5)


@pytest.mark.slow
@pytest.mark.parametrize('case', FULL)
def test_full_spaces(case):
    check(*FULL[case], num_archs=200)


@pytest.fixture
def autovit():
    return AutoViTSpace(restrict={'resolution': [192, 224], 'num_stages': 3})


def workload(space, **arguments):
    return Workload(space, {'type': 'mmhybrid.AutoViT'}, **arguments)


def test_classifier_adds_a_linear_layer(autovit):
    arch = autovit.largest()
    width = 64 * 6  # MBPool of the widest third stage, d = 96
    plain, classifier = (Estimator(workload(autovit, num_classes=n))(arch) for n in (None, 10))
    head = sum(parameter.numel() for parameter in nn.Linear(width, 10).parameters())
    assert round(1e6 * (classifier.params_m - plain.params_m)) == head
    assert round(1e6 * (classifier.macs_m - plain.macs_m)) == width * 10


def test_resolution_of_the_arch_counts(autovit):
    estimator = Estimator(workload(autovit))
    small, large = (estimator({**autovit.smallest(), 'resolution': side}) for side in (192, 224))
    assert small.params_m == large.params_m
    assert small.macs_m < large.macs_m


def test_same_whatever_was_asked_before(autovit):
    rng = random.Random(3)
    archs = [autovit.sample(rng) for _ in range(6)]
    latency = AnalyticLatency(NOMINAL)
    estimator = Estimator(workload(autovit), latency)
    state = torch.get_rng_state()
    forwards = [estimator(arch) for arch in archs]
    backwards = [Estimator(workload(autovit), latency)(arch) for arch in archs[::-1]]
    assert forwards == backwards[::-1] == [estimator(dict(arch)) for arch in archs]
    assert torch.equal(state, torch.get_rng_state())


def test_no_part_is_counted_twice(autovit, monkeypatch):
    """Whoever asks: what is known belongs to the workload."""
    costs, arch = workload(autovit), autovit.smallest()
    first = Estimator(costs)(arch)
    monkeypatch.setattr(MODELS, 'build', None)
    assert Estimator(costs)(arch) == first


def test_equal_parts_of_a_network_are_counted_once(monkeypatch):
    """GLiT's 24 layers are of two kinds, attention and FFN; beside them are the network, the stem and the head."""
    counted = []
    monkeypatch.setattr(
        'mmhybrid.counting.workload.count_part', lambda network, pieces: counted.append(pieces) or PartCost(0, 0)
    )
    whole = Workload(GLiTSpace(level='attention'), {'type': 'mmhybrid.GLiT'}, 224, 1000)
    parts = whole.parts(whole.space.largest())
    assert len({part.key for part in parts}) == 5
    assert len(counted) == 4  # the head is a product of two numbers
    whole.parts(whole.space.largest())
    assert len(counted) == 4


def test_finds_the_supernet_of_a_model():
    supernet = {'type': 'mmhybrid.Supernet', 'space': GLiTSpace().to_config(), 'backbone': {'type': 'mmhybrid.GLiT'}}
    model = {'type': 'mmhybrid.OneShot', 'architecture': {'backbone': supernet, 'head': {'num_classes': 7}}}
    found = Workload.of_model(model, 192)
    assert (found.num_classes, found.input_size) == (7, 192)
    assert found.space.to_config() == GLiTSpace().to_config()


@pytest.mark.parametrize(
    ('model', 'expected'),
    [
        ({'architecture': {'head': {'type': 'LinearClsHead', 'num_classes': 7}}}, 7),
        ({'architecture': {'head': None}}, None),
        ({'architecture': {'decode_head': {'type': 'UPerHead', 'num_classes': 19}}}, None),
        ({'architecture': {'bbox_head': {'type': 'RetinaHead', 'num_classes': 80}}}, None),
        ({'architecture': {'head': {'num_classes': 7}}, 'teacher': {'num_classes': 1000}}, 7),
        ({'type': 'ImageClassifier'}, None),
    ],
)
def test_only_classifiers_have_classes(model, expected):
    assert num_classes_of(model) == expected


def test_segmentor_has_no_classifier():
    backbone = {'type': 'mmhybrid.GLiT', 'out_type': 'featmap'}
    supernet = {'type': 'mmhybrid.Supernet', 'space': GLiTSpace().to_config(), 'backbone': backbone}
    heads = {'decode_head': {'type': 'UPerHead', 'num_classes': 19}, 'auxiliary_head': {'num_classes': 19}}
    model = {'type': 'mmhybrid.OneShot', 'architecture': {'type': 'EncoderDecoder', 'backbone': supernet, **heads}}
    assert Workload.of_model(model, 192).num_classes is None


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        ({'backbone': {'type': 'mmhybrid.ResNet'}}, 'backbone.type'),
        ({'backbone': {'type': 'mmhybrid.AutoViT', 'arch': 'xxs'}}, 'surplus arch'),
        ({'input_size': 224}, 'input_size'),
        ({'num_classes': 0}, 'num_classes'),
        ({'space': GLiTSpace(), 'backbone': {'type': 'mmhybrid.GLiT'}}, 'input_size'),
    ],
)
def test_wrong_arguments(autovit, arguments, word):
    with pytest.raises(ValueError, match=word):
        Workload(**{'space': autovit, 'backbone': {'type': 'mmhybrid.AutoViT'}, **arguments})


def test_model_without_supernet():
    with pytest.raises(ValueError, match='supernet'):
        Workload.of_model({'type': 'ImageClassifier', 'backbone': {'type': 'mmhybrid.GLiT'}}, 224)


def test_arch_of_another_space(autovit):
    with pytest.raises(ValueError, match='allowed'):
        Estimator(workload(autovit))({'resolution': 192})
