"""Objects of a wrong class are refused by the name of their field, when they are given."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmhybrid.models.necks.simple_feature_pyramid import SimpleFeaturePyramid
from mmhybrid.registry import MODELS
from mmhybrid.search import Objective, RandomSampler, SearchSettings, Stage, StudyStorage
from mmhybrid.space import GLiTSpace

WRONG = (5, 'x', [5], {'a': 5}, 1.5, True, object())
STAGE: dict[str, Any] = {'name': 'a', 'sampler': RandomSampler(), 'budget': 4, 'population': 2}
SETTINGS: dict[str, Any] = {
    'space': GLiTSpace(),
    'stages': [Stage(**STAGE)],
    'objectives': [Objective('macs_m')],
}


def refused(field: str, make: Callable[[Any], Any], *values: Any) -> None:
    for value in values:
        with pytest.raises(ValueError, match=rf'\b{field}\b.*got .*allowed'):
            make(value)


@pytest.mark.parametrize('field', ['sampler', 'space', 'skeletons', 'fix', 'rank_by'])
def test_stage(field: str) -> None:
    refused(field, lambda value: Stage(**{**STAGE, field: value}), *WRONG)


@pytest.mark.parametrize('field', ['space', 'stages', 'objectives', 'constraints', 'tie_breaks'])
def test_search_settings(field: str) -> None:
    refused(field, lambda value: SearchSettings(**{**SETTINGS, field: value}), None, *WRONG)


def test_study_storage(tmp_path: Path) -> None:
    settings, path = SearchSettings(**SETTINGS), tmp_path / 'search.journal'
    refused('settings', lambda value: StudyStorage(path, value), None, *WRONG)
    refused('origin', lambda value: StudyStorage(path, settings, origin=value), 5, 'x', [5], 1.5, True, object())
    refused('storage', lambda value: StudyStorage(value, settings), 5, [5], object())
    for field in ('claim_hours', 'retry_minutes'):
        wrong = (math.nan, math.inf, -1, None, 'x', [5], {'a': 5}, True, object())
        refused(field, lambda value, field=field: StudyStorage(path, settings, **{field: value}), *wrong)


WRONG_LAYERS = (5, 'x', [5], {}, 1.5, True, {'type': 5}, {'type': []}, {'type': 'Nothing'}, object())


@pytest.mark.parametrize('field', ['norm_cfg', 'act_cfg', 'out_norm_cfg'])
@pytest.mark.parametrize('kind', ['GLNet', 'AutoViT'])
def test_layers(kind: str, field: str) -> None:
    if (kind, field) == ('GLNet', 'act_cfg'):
        pytest.skip('GLNet has no act_cfg')
    arch = {'GLNet': '4g', 'AutoViT': 'xxs'}[kind]
    base = {'type': f'mmhybrid.{kind}', 'arch': arch}
    refused(field.removeprefix('out_'), lambda value: MODELS.build({**base, field: value}), *WRONG_LAYERS)


def test_layers_of_the_neck() -> None:
    refused('norm_cfg', lambda value: SimpleFeaturePyramid(16, 16, norm_cfg=value), *WRONG_LAYERS)
