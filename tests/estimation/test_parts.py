"""Keys tell what a part is; a family says itself how wide its output is."""

import pytest
import torch

from mmhybrid.estimation import parts
from mmhybrid.estimation.estimator import PartCounter
from mmhybrid.estimation.parts import FamilyParts, Part, family_of
from mmhybrid.registry import MODELS
from mmhybrid.space import AutoViTSpace, GLiTSpace, GLNetSpace

SPACES = {
    'AutoViT': (AutoViTSpace(restrict={'num_stages': 3, 'resolution': 192}), {}, None, 192),
    'AutoViT without MBPool': (
        AutoViTSpace(restrict={'num_stages': 4, 'resolution': 192}),
        {'mbpool': False},
        None,
        192,
    ),
    'GLiT': (GLiTSpace(embed_dims=48, num_blocks=1), {'img_size': 64}, 64, 64),
    'GLNet': (GLNetSpace(), {}, 64, 64),
}


def test_key():
    part = Part('attention d=48 heads=1/3 ratio=0.5 length=17', 2, ())
    assert part.kind == 'attention'
    assert part.sizes == {'d': 48, 'heads': pytest.approx(1 / 3), 'ratio': 0.5, 'length': 17}
    assert Part('conv1 plain side=56', 1, ()).sizes == {'side': 56}
    with pytest.raises(ValueError, match=r'part "conv mode=fast": got .fast., allowed: a number'):
        Part('conv mode=fast', 1, ()).sizes  # noqa: B018


@pytest.mark.parametrize('case', SPACES)
def test_out_width_is_that_of_the_last_output(case):
    space, backbone, input_size, side = SPACES[case]
    backbone = {'type': f'mmhybrid.{case.partition(" ")[0]}', **backbone}
    arch = space.smallest()
    with torch.device('meta'), torch.no_grad():
        last = MODELS.build({**backbone, **space.decode(arch)}).eval()(torch.empty(1, 3, side, side))[-1]
    assert PartCounter(space, backbone, input_size, 5).out_width(arch) == last.shape[1]


def test_a_family_is_not_guessed_from_its_arch(monkeypatch):
    """One of your own may call its genes as another does."""
    mine = FamilyParts(lambda backbone, arch, side: iter(()), lambda backbone, arch: arch['embed_dims'][-1])
    monkeypatch.setitem(parts.FAMILIES, 'Mine', mine)
    backbone, arch = {'type': 'Mine'}, {'conv_widths': [8], 'embed_dims': [96]}
    assert family_of(backbone).out_width(backbone, arch) == 96


def test_unknown_family():
    with pytest.raises(ValueError, match=r'backbone.type: got .ResNet., allowed: one of .*GLNet'):
        family_of({'type': 'ResNet'})
