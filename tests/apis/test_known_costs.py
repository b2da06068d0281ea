"""The networks that a report shows beside those of a search."""

import pytest
from mmengine.config import Config

from mmhybrid.apis.known_costs import START, known_networks_of
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.models.build import build_on_meta
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.search import Candidate, Objective, RandomSampler, SearchResult, SearchSettings, Stage
from mmhybrid.space import GLNetSpace, SearchSpace

GLNET = {'type': 'mmhybrid.GLNet', 'out_indices': (1, 2, 3), 'out_norm_cfg': {'type': 'LN2d'}}
SIZE = 64


def found(space: SearchSpace, *candidates: Candidate) -> SearchResult:
    settings = SearchSettings(space, [Stage(sampler=RandomSampler(), budget=4, population=4)], [Objective('mAP')])
    return SearchResult(settings, candidates)


def config_of(space: dict, backbone: dict, **supernet: object) -> Config:
    supernet = {'type': 'mmhybrid.Supernet', 'space': space, 'backbone': backbone, **supernet}
    model = {'type': 'mmhybrid.OneShot', 'architecture': {'type': 'BaseDetector', 'backbone': supernet}}
    return Config({'model': model, 'search_cfg': {'input_size': SIZE}})


WIDE = {'type': 'mmhybrid.GLNetSpace'}
AROUND = {'type': 'mmhybrid.GLNetSpace', 'around': 'stl'}
FROM = {'type': 'mmhybrid.FromNetwork', 'arch': 'stl', 'checkpoint': 'glnet_stl.pth'}


@pytest.mark.parametrize('cfg', [config_of(AROUND, GLNET), config_of(WIDE, GLNET, init_cfg=FROM)])
def test_costs_are_those_of_the_networks(cfg: Config) -> None:
    """The starting network and the presets, in the space or not, each counted as a whole one by itself."""
    space = SEARCH_SPACES.build(dict(cfg.model.architecture.backbone.space))
    known = known_networks_of(found(space), cfg)
    assert [network.name for network in known][:3] == [f'{START}, glnet-stl', 'glnet-stl-paramslot', 'glnet-4g']
    for network in known[:2]:
        preset = network.name.rpartition('glnet-')[2]
        counted = count_complexity(build_on_meta({**GLNET, 'arch': preset}), (3, SIZE, SIZE))
        assert network.numbers == {'params_m': counted.params / 1e6, 'macs_m': counted.macs / 1e6}


def test_a_network_of_another_library_stands_there_as_the_start_alone() -> None:
    whole = {'depths': [1, 2, 1, 1], 'kernel_sizes': [7] * 4, 'hidden_widths': [32, 48, 64, 96]}
    backbone = {'type': 'mmhybrid.ElasticConvNeXt', 'network': {'depths': [1, 2, 1, 1], 'channels': [8, 12, 16, 24]}}
    space = {'type': 'mmhybrid.ElasticSpace', 'around': whole}
    (known,) = known_networks_of(found(SEARCH_SPACES.build(space)), config_of(space, backbone))
    counted = count_complexity(build_on_meta(backbone), (3, SIZE, SIZE))
    assert known.name == START
    assert known.numbers == {'params_m': counted.params / 1e6, 'macs_m': counted.macs / 1e6}


def test_what_was_evaluated_has_the_numbers_of_the_search() -> None:
    space = GLNetSpace(around='stl')
    largest = Candidate('all', 0, 0, space.largest(), {'latency_ms': 9.0}, {'mAP': 0.4})
    other = Candidate('all', 0, 1, space.smallest(), {'latency_ms': 5.0}, {'mAP': 0.3})
    for cfg, name in ((None, 'glnet-stl'), (config_of(AROUND, GLNET), f'{START}, glnet-stl')):
        first = known_networks_of(found(space, largest, other), cfg)[0]
        assert (first.name, first.numbers) == (name, {'latency_ms': 9.0, 'mAP': 0.4})


def test_nothing_is_known_without_the_config() -> None:
    space = GLNetSpace(around='stl')
    smallest = Candidate('all', 0, 1, space.smallest(), {'latency_ms': 5.0}, {'mAP': 0.3})
    assert known_networks_of(found(space, smallest)) == []


def test_another_space_is_refused() -> None:
    other = config_of({'type': 'mmhybrid.AutoViTSpace', 'table': 'xxs'}, {'type': 'mmhybrid.AutoViT'})
    with pytest.raises(ValueError, match=r'space: got .AutoViTSpace., allowed: GLNetSpace, as searched'):
        known_networks_of(found(GLNetSpace(around='stl')), other)
