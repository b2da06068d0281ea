"""Networks that a search starts from, by genes, file or name."""

import json
import re
from pathlib import Path

import pytest

from mmhybrid.archs import AutoViTArch
from mmhybrid.engine.known_networks import known_networks
from mmhybrid.space import AutoViTSpace, GLNetSpace

SPACE = AutoViTSpace('xxs')


def test_a_network_may_be_named_as_one_likes(tmp_path: Path) -> None:
    """Each is that of the name: what a preset is made of decides."""
    preset = SPACE.encode('xxs')
    assert SPACE.decode(preset) == AutoViTArch.parse('xxs')
    (tmp_path / 'genes.json').write_text(json.dumps(dict(preset)))
    (tmp_path / 'best_arch.json').write_text(json.dumps({'space': SPACE.to_config(), 'arch': dict(preset)}))
    named = ['xxs', dict(preset), str(tmp_path / 'genes.json'), str(tmp_path / 'best_arch.json')]
    assert known_networks('start', named, SPACE) == [dict(preset)] * 4


def test_a_network_may_be_told_as_its_backbone_takes_it() -> None:
    """The network that a space is around is the largest there; some of its fields have the names of genes."""
    arch = {'embed_dims': [32, 64, 96, 128], 'depths': [1, 1, 2, 1], 'ffn_ratios': [2, 2, 2, 2], 'conv_ffn': True}
    arch |= {'mixers': ['glmix', 'glmix', 'glmix', 'mhsa'], 'num_slots': [16, 16, 16, 16]}
    space = GLNetSpace(around=arch)
    assert known_networks('start', [arch], space) == [dict(space.largest())]
    assert known_networks('start', [dict(space.smallest())], space) == [dict(space.smallest())]
    with pytest.raises(ValueError, match=re.escape('start[0]: ')):
        known_networks('start', [{**arch, 'depths': [1, 1, 3, 1]}], space)


@pytest.mark.parametrize('network', ['xxl', 'none.json', {'a': 1}, 5])
def test_one_that_is_not_there_is_named(network: object) -> None:
    with pytest.raises(ValueError, match=re.escape('start[1]: ')):
        known_networks('start', ['xxs', network], SPACE)  # type: ignore[list-item]
