"""Fewer than a hundred networks of each resolution have all parts of the papers' spaces."""

import warnings

import pytest

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.design import choose_networks
from mmhybrid.latency.table import parts_of_space
from mmhybrid.latency.timing import Plan
from mmhybrid.space import AutoViTSpace, EfficientNetLiteSpace, GLiTSpace, GLNetSpace

SPACES = {
    **{f'autovit-{table}': AutoViTSpace(table) for table in ('xxs', 'xs', 's')},
    'efficientnet-lite': EfficientNetLiteSpace(),
    'glit': GLiTSpace(),
    'glnet': GLNetSpace(),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', SPACES)
def test_every_part_is_in_a_network_that_is_measured(name: str) -> None:
    space = SPACES[name]
    family = type(space).__name__.removesuffix('Space')
    resolutions = space.choices['resolution'].values if 'resolution' in space.choices else [224]
    for side in resolutions:
        part = space.restrict({'resolution': side}) if 'resolution' in space.choices else space
        costs = Workload(part, {'type': f'mmhybrid.{family}'}, None if 'resolution' in space.choices else side, 1000)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            archs = choose_networks(costs, side, Plan())
        assert len(set(archs)) == Plan().networks < 100
        assert set(parts_of_space(costs)) <= set(costs.composition(archs)[0])
