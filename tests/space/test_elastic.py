"""Spaces of networks of other libraries."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.models import ConvNeXt

from mmhybrid.archs import ElasticArch
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import ElasticSpace

RAGGED = {'depths': [3, 2], 'kernel_sizes': [[3, 5, 7], []], 'hidden_widths': [[24, 36, 36], [48, 40]]}
SPACES = [
    ElasticSpace(around='convnext-atto'),
    ElasticSpace(around=RAGGED),
    ElasticSpace(around=RAGGED, depths=[[1, 2], [1]], kernel_sizes=[[3], []], hidden_widths=[[8, 16, 24], []]),
    ElasticSpace(depths=[[1, 2], [3]]),
    ElasticSpace(depths=[[1, 2], [2]], kernel_sizes=[[], [3, 5]], hidden_widths=[[8, 12], []]),
]


@pytest.mark.parametrize('name', ConvNeXt.arch_settings)
def test_presets_are_mmpretrains_networks(name):
    """Blocks and channels as MMPretrain lists them, with its blocks' kernel and ratio (their defaults)."""
    theirs, ours = ConvNeXt.arch_settings[name], ElasticArch.parse(f'convnext-{name}')
    assert list(ours.depths) == theirs['depths']
    for depth, channels, kernels, hidden in zip(
        theirs['depths'], theirs['channels'], ours.kernel_sizes, ours.hidden_widths, strict=True
    ):
        assert kernels == (7,) * depth
        assert hidden == (4 * channels,) * depth


def test_all_presets_are_of_a_network():
    assert {name.removeprefix('convnext-') for name in ElasticArch.presets} == set(ConvNeXt.arch_settings)


def test_values_follow_from_the_network():
    space = ElasticSpace(around='convnext-tiny')
    assert space.choices['stages.2.depth'].values == (5, 6, 7, 8, 9)
    assert space.choices['stages.0.depth'].values == (2, 3)
    assert space.choices['stages.1.blocks.2.kernel_size'].values == (3, 5, 7)
    assert space.choices['stages.3.blocks.0.hidden_width'].values == (1536, 2304, 3072)
    of_a_stage = [sum(9**depth for depth in depths) for depths in ((2, 3), (2, 3), (5, 6, 7, 8, 9), (2, 3))]
    assert space.size() == of_a_stage[0] * of_a_stage[1] * of_a_stage[2] * of_a_stage[3]


def test_blocks_keep_values_of_their_own():
    space = SPACES[1]
    assert space.largest() == space.encode(RAGGED)
    assert space.choices['stages.0.blocks.0.hidden_width'].values == (12, 18, 24)
    assert space.choices['stages.0.blocks.1.hidden_width'].values == (18, 27, 36)
    assert space.choices['stages.0.blocks.0.kernel_size'].values == (3,)
    assert 'stages.1.blocks.0.kernel_size' not in space.choices
    listed = SPACES[2]
    assert listed.choices['stages.0.blocks.1.hidden_width'].values == (8, 16, 24, 36)
    assert listed.choices['stages.1.blocks.1.hidden_width'].values == (40,)
    assert listed.choices['stages.1.depth'].values == (1, 2)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SPACES), st.integers(0, 2**32))
def test_genes_and_networks_stand_for_each_other(space, seed):
    arch = space.sample(random.Random(seed))
    decoded = space.decode(arch)
    assert space.encode(decoded) == arch
    assert ElasticArch.parse(decoded.to_dict()) == decoded
    again = SEARCH_SPACES.build(space.to_config())
    assert again.size() == space.size()
    assert again.contains(arch)
    assert len(decoded.diagram().blocks) == sum(decoded.depths)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({}, 'depths: got None, allowed: a list of values for each stage, or around'),
        ({'depths': [[1], [2]], 'kernel_sizes': [[3]]}, r'kernel_sizes: got \[\[3\]\], allowed: a list of 2'),
        ({'depths': [[1], []]}, r'depths\[1\]: got \[\], allowed: at least one value'),
        ({'depths': [[1]], 'kernel_sizes': [[2]]}, r'kernel_sizes\[0\]: got 2, allowed: an odd number'),
        ({'around': 'convnext-mini'}, "around: Elastic arch: got 'convnext-mini'"),
        ({'around': RAGGED, 'depths': [[4], [1]]}, r'depths\[0\]: got 4, allowed: at most 3'),
        ({'around': RAGGED, 'hidden_widths': [[8, 64], [8]]}, r'hidden_widths\[0\]: got 64, allowed: at most 36'),
        ({'around': RAGGED, 'kernel_sizes': [[3], [3]]}, r'kernel_sizes\[1\]: got 3, allowed: at most 0'),
    ],
    ids=str,
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ElasticSpace(**arguments)
