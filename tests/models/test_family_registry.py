"""A family is registered once, in its own file, and found by all that go through the families."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from mmhybrid.archs import NetworkArch
from mmhybrid.archs.base import Block, Column, Diagram
from mmhybrid.commands import plot_arch
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.families import FAMILIES, Family, preset_arch, register_family
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import SearchSpace


@dataclass(frozen=True)
class PlainArch(NetworkArch):
    presets: ClassVar = {'small': {'width': 8}}
    width: int

    @classmethod
    def read(cls, raw):
        return cls(**raw)

    def diagram(self):
        return Diagram('Plain', 'stage', (Column('1', (Block('the only block', self.width, 1),), {'width': '8'}),))


class Plain(HybridBackbone):
    """A backbone of the user's."""


@pytest.fixture
def plain():
    yield register_family(Family(Plain, PlainArch, {'type': 'PlainSpace'}))
    del FAMILIES['Plain']


def test_what_belongs_to_ours():
    assert FAMILIES.keys() == {'AutoViT', 'EfficientNetLite', 'GLiT', 'GLNet'}
    for family in FAMILIES.values():
        space = SEARCH_SPACES.build(dict(family.space))
        assert isinstance(space, SearchSpace)
        assert space.arch_class is family.arch
        assert set(map(type, map(family.arch.parse, family.arch.presets))) == {family.arch}


def test_presets_are_found_by_their_full_names(plain, tmp_path):
    assert preset_arch('plain-small') == PlainArch(8)
    assert preset_arch('glnet-stl-paramslot').learned_slots
    assert preset_arch('efficientnet-lite3').embed_dims[0] == 24
    plot_arch.main(['--preset', 'plain-small', '--out', str(tmp_path / 'arch.svg')])
    assert 'the only block' in (tmp_path / 'arch.svg').read_text()


def test_unknown_presets():
    with pytest.raises(ValueError, match=r"preset: got 'plain-small', allowed: one of .*'glnet-4g'"):
        preset_arch('plain-small')


def test_a_name_belongs_to_one_family(plain):
    register_family(plain)

    class Plain(HybridBackbone):
        """Another one."""

    with pytest.raises(ValueError, match=r"family: got 'Plain', allowed: a name that is not taken"):
        register_family(Family(Plain, PlainArch, {}))
