"""Spaces around a network: it is their largest member, and nothing of another member is more than its own."""

import copy
import csv
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmhybrid.archs import AutoViTArch, EfficientNetLiteArch, GLiTArch, GLNetArch
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.models import AutoViT, EfficientNetLite, GLiT, GLNet
from mmhybrid.models.build import on_meta
from mmhybrid.space import AutoViTSpace, EfficientNetLiteSpace, GLiTSpace, GLNetSpace

AUTOVIT, GLIT, GLNET = AutoViTArch.presets, GLiTArch.presets, GLNetArch.presets
LITE = EfficientNetLiteArch.presets
FAMILIES = {
    GLNetSpace: (GLNet, GLNET),
    GLiTSpace: (GLiT, GLIT),
    AutoViTSpace: (AutoViT, AUTOVIT),
    EfficientNetLiteSpace: (EfficientNetLite, LITE),
}
ALL = [(family, name) for family, (_, presets) in FAMILIES.items() for name in presets]
# What table 6's localities, and any network of these spaces, may be.
SPACES = [
    GLNetSpace(depths=((1, 2, 5),) * 4, widths=((32, 64), (64,), (96, 128), (128,))),
    GLNetSpace(depths=((1, 2),) * 4, fixed={'head_dim': 16, 'learned_slots': True, 'layer_scale': 1e-4}),
    GLiTSpace(96, 3, 3),
    GLiTSpace(128, 4, 2, locality='window', candidates={'kernel_size': [4, 9, 14, 28]}),
    GLiTSpace(128, 4, 2, locality='conv2d'),
    AutoViTSpace('union-free', monotone=False, restrict={'stages.*.depth': [2, 3], 'num_stages': 3}),
    AutoViTSpace('xs', transformer_only=True, restrict={'num_stages': 3}),
    EfficientNetLiteSpace(),
    EfficientNetLiteSpace(kernel_sizes=[[3, 5, 7, 9]] * 7, expand_ratios=[[1, 1.2, 2, 6]] * 7, stem_widths=[4, 10]),
]
MIXERS = ('local', 'mhsa', 'glmix')


def cost(family, arch, side):
    with on_meta():
        network = FAMILIES[family][0](arch, **({'out_type': 'raw'} if family is GLiTSpace else {}))
        counted = count_complexity(network, (3, side, side))
    return counted.params, counted.macs


def is_no_more(one, other):
    return MIXERS.index(one) <= MIXERS.index(other) if isinstance(one, str) else one <= other


@pytest.mark.parametrize(('family', 'name'), ALL)
def test_a_preset_is_the_largest_member(family, name):
    space = family(around=name)
    largest = space.largest()
    assert space.encode(name) == largest
    assert space.decode(largest) == family.arch_class.parse(name)


def drawn(space, seed):
    """A network of a space, the space around it, and members of that."""
    rng, family = random.Random(seed), type(space)
    network = space.decode(space.sample(rng))
    around = family(around=network)
    smaller = around.sample(rng)
    others = around.smallest(), around.mutate(smaller, rng, 0.5), around.crossover(smaller, around.largest(), rng)
    return network, around, (smaller, *others)


@given(st.sampled_from(SPACES), st.integers(0, 2**32))
@settings(max_examples=100)
def test_no_gene_is_more_than_the_networks(space, seed):
    network, around, members = drawn(space, seed)
    largest = around.largest()
    assert around.decode(largest) == network
    for arch in members:
        assert set(arch) <= set(largest)
        assert all(is_no_more(value, largest[name]) for name, value in arch.items())


def check_costs(space, seed):
    network, around, members = drawn(space, seed)
    most = cost(type(space), network, 64)
    for arch in members[:2]:
        params, macs = cost(type(space), around.decode(arch), 64)
        assert params <= most[0]
        assert macs <= most[1]


@pytest.mark.parametrize('space', SPACES)
def test_no_member_costs_more(space):
    check_costs(space, 0)


@pytest.mark.slow
@given(st.sampled_from(SPACES), st.integers(0, 2**32))
@settings(max_examples=100)
def test_no_member_of_many_costs_more(space, seed):
    check_costs(space, seed)


@given(st.sampled_from(SPACES), st.integers(0, 2**32))
@settings(max_examples=30)
def test_the_lists_are_plain(space, seed):
    """What describes such a space names no network, and builds the same space again."""
    around = type(space)(around=space.decode(space.sample(random.Random(seed))))
    config = json.loads(json.dumps(around.to_config()))
    assert 'around' not in config
    for again in (type(space).from_config(config), copy.copy(around)):
        assert again.to_config() == around.to_config()
        assert again.size() == around.size()
        assert again.largest() == around.largest()


def test_sizes_in_closed_form():
    """4G: three FFN ratios and depths (ten of 18 blocks) a stage, two kernels and five numbers of slots in three."""
    assert GLNetSpace(around='4g').size() == 3**4 * (3 * 3 * 10 * 3) * 2**3 * 5**3
    # attention alone has MLP and qkv ratio, mixed blocks and those without attention have convolutions too
    splits = [block['num_attn_heads'] for block in GLIT['tiny']['blocks']]
    genes = [{3: 2, 0: 3}.get(heads, 4) for heads in splits]
    assert GLiTSpace(around='tiny').size() == math.prod(3**count for count in genes)
    # XXS: resolutions; layers of two MBConv stages; two depths, three ratios and heads from half on in five stages
    assert AutoViTSpace(around='xxs').size() == 3 * 2**2 * (2 * 3) ** 5 * (2 * 2 * 2 * 3 * 2)

    # Lite0: resolutions; three ratios in each block but the first, two kernels where it has 5; blocks from half on
    def stage(depths, kernels):
        return sum((3 * kernels) ** depth for depth in depths)

    lite0 = 4 * stage((1, 2), 1) * stage((1, 2), 2) * stage((2, 3), 1) * stage((2, 3), 2) * stage((2, 3, 4), 2) * 3
    assert EfficientNetLiteSpace(around='lite0').size() == lite0


def values(space, pattern):
    return [choice.values for name, choice in space.choices.items() if name.endswith(pattern)]


def test_lists_stand_for_what_follows_from_the_network():
    space = GLNetSpace(
        around='4g', widths=[[32], [128], [192, 256], [512]], depths=[[4], [4], [6, 9], [4]], ffn_ratios=[1],
        local_kernels=[5], mixers=['local', 'glmix'], conv_ffn=[False],
    )  # fmt: skip
    assert values(space, 'width') == [(32, 64), (128,), (192, 256), (512,)]
    assert values(space, 'depth') == [(4,), (4,), (6, 9, 18), (4,)]
    assert values(space, 'ffn_ratio') == [(1, 3)] * 4
    assert values(space, 'local_kernel') == [(5,)] * 4
    assert values(space, 'num_slots') == [(16, 25, 36, 49, 64)] * 4
    assert values(space, 'conv_ffn') == [(False, True)]
    assert values(space, 'stages.2.blocks.4.mixer') == [('local', 'glmix')]
    assert values(space, 'stages.2.blocks.5.mixer') == [('mhsa',)]
    tiny = GLiTSpace(around='tiny', candidates={'mlp_ratio': [2, 4], 'kernel_size': [17]})
    assert values(tiny, '0.mlp_ratio')[0] == (2, 4)
    assert values(tiny, '2.mlp_ratio')[0] == (2, 4, 6)
    assert values(tiny, '4.kernel_size') == [(17, 45)]
    assert values(tiny, '0.qkv_ratio')[0] == (0.25, 0.375, 0.5)
    table = {'resolutions': [96, 128], 'num_stages': [3], 'widths': [[48], [64], [64], [96], [112]], 'num_heads': [1]}
    xxs = AutoViTSpace(around='xxs', table=table)
    assert values(xxs, 'resolution') == [(96, 128)]
    assert values(xxs, 'num_stages') == [(3, 5)]
    assert values(xxs, '2.width') == [(48,), (64, 80)]
    assert values(xxs, 'num_heads') == [(1, 3), (1, 3), (1, 3), (1, 4), (1, 2)]
    assert values(xxs, '1.mlp_ratio') == [(0.75, 1.125, 1.5)]
    ratios = [[1], *[[2, 3]] * 6]
    lite = EfficientNetLiteSpace(around='lite0', resolutions=[160], expand_ratios=ratios, head_widths=[640])
    assert values(lite, 'resolution') == [(160,)]
    assert values(lite, '0.expand_ratio') == [(1,), *[(2, 3, 6)] * 6]
    assert values(lite, '2.blocks.1.kernel_size') == [(3, 5)]
    assert values(lite, 'head.width') == [(640, 1280)]


def test_what_expands_goes_on_to_expand():
    """Without, a block has weights of its own, and those the network around which the space is lacks."""
    lite = EfficientNetLiteSpace(around={**LITE['lite0'], 'expand_ratios': [1, 1.3, 2, 2, 2, 2, 2]})
    assert [choice[0] for choice in values(lite, '.0.expand_ratio')] == [1, 1.3, 1.5, 1.5, 1.5, 1.5, 1.5]


def test_restrict_leaves_less():
    space = GLNetSpace(around='4g', restrict={'stages.*.local_kernel': 5, 'stages.0.ffn_ratio': [1.5, 3]})
    assert space.size() == 2 * 3**3 * (3 * 3 * 10 * 3) * 5**3
    assert space.restrict({'stages.0.depth': 4}).size() == space.size() / 3
    with pytest.raises(ValueError, match=r'around: stages\.0\.depth: got 4, allowed: one of \[2\]'):
        GLNetSpace(around='4g', restrict={'stages.0.depth': 2})


def test_widths_that_decrease_stay():
    network = {**AUTOVIT['xs'], 'embed_dims': [120, 96, 144, 168]}
    assert AutoViTSpace(around=network).largest()['stages.1.width'] == 96


def test_a_file_names_the_network(tmp_path):
    described = tmp_path / 'network.json'
    described.write_text(json.dumps(GLNET['4g']))
    assert GLNetSpace(around=str(described)).to_config() == GLNetSpace(around='4g').to_config()
    search = GLNetSpace()
    arch = search.sample(random.Random(0))
    found = tmp_path / 'best_arch.json'
    found.write_text(json.dumps({'space': search.to_config(), 'arch': dict(arch)}))
    with open(tmp_path / 'topk.csv', 'w', newline='') as file:
        csv.writer(file).writerows([['rank', 'arch'], [1, arch.to_json()]])
    expected = GLNetSpace(around=search.decode(arch))
    assert GLNetSpace(around=str(found)).to_config() == expected.to_config()
    assert GLNetSpace(around=str(tmp_path / 'topk.csv:1')).to_config() == expected.to_config()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'around: .*network.json does not exist'),
        ('[3]', 'around: .*network.json: not a JSON object'),
        ('{"arch": {"a": 1}}', 'around: .*network.json: missing space'),
        ('{"arch": {"a": 1}, "space": {"type": "AutoViTSpace"}}', "around: .*: type: got 'AutoViTSpace', allowed"),
        ('{"arch": {"a": 1}, "space": {"type": "GLNetSpace"}}', "around: .*: gene: got 'a'"),
        ('{"arch": {"a": 1}, "space": {"type": "GLNetSpace", "around": "network.json"}}', 'surplus around'),
        ('{"embed_dims": [32]}', 'around: GLNet arch: missing depths'),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / 'network.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        GLNetSpace(around=str(path))


@pytest.mark.parametrize(
    ('family', 'arguments', 'message'),
    [
        (GLNetSpace, {'around': 'tiny'}, "around: GLNet arch: got 'tiny', allowed: one of"),
        (GLNetSpace, {'around': 4}, 'around: GLNet arch: got 4'),
        (GLNetSpace, {'around': GLIT['tiny']}, 'around: GLNet arch: missing depths'),
        (GLNetSpace, {'around': {**GLNET['stl'], 'mixers': ['global', 'glmix', 'glmix', 'mhsa']}}, "got 'global'"),
        (GLNetSpace, {'around': '4g', 'widths': [[96], [128], [256], [512]]}, r'widths\[0\]: got 96, allowed: at most'),
        (GLNetSpace, {'around': '4g', 'depths': [[2], [6], [9], [2]]}, r'depths\[1\]: got 6, allowed: at most 4'),
        (GLNetSpace, {'around': '4g', 'ffn_ratios': [2, 4]}, r'ffn_ratios: got 4\.0, allowed: at most 3'),
        (GLNetSpace, {'around': '4g', 'local_kernels': [3, 7]}, 'local_kernels: got 7, allowed: at most 5'),
        (GLNetSpace, {'around': '4g', 'num_slots': [81]}, 'num_slots: got 81, allowed: at most 64'),
        (GLNetSpace, {'around': '4g', 'num_slots': [10]}, 'num_slots: got 10, allowed: a square'),
        (GLNetSpace, {'around': 'stl', 'conv_ffn': [True]}, 'conv_ffn: got True, allowed: at most False'),
        (GLNetSpace, {'around': {**GLNET['stl'], 'mixers': ['mhsa'] * 4}, 'mixers': ['glmix']}, "mixers: got 'glmix'"),
        (GLNetSpace, {'around': '16g', 'fixed': {}}, 'fixed: got {}'),
        (GLNetSpace, {'fixed': {'slots': 3}}, 'fixed: surplus slots'),
        (GLNetSpace, {'fixed': {'layer_scale': 0}}, 'fixed.layer_scale: got 0'),
        (GLiTSpace, {'around': '4g'}, "around: GLiT arch: got '4g', allowed: one of"),
        (GLiTSpace, {'around': 'tiny', 'level': 'detail'}, "level: got 'detail', allowed: one of .'flat'"),
        (GLiTSpace, {'around': 'tiny', 'embed_dims': 192}, 'embed_dims: surplus'),
        (GLiTSpace, {'around': 'tiny', 'distribution': [3] * 12}, 'distribution: surplus'),
        (GLiTSpace, {'around': 'tiny', 'candidates': {'num_attn_heads': [0]}}, 'candidates: surplus num_attn_heads'),
        (GLiTSpace, {'around': 'tiny', 'candidates': {'kernel_size': [47]}}, 'candidates.kernel_size: got 47, allowed'),
        (AutoViTSpace, {'around': 'm'}, "around: AutoViT arch: got 'm', allowed: one of"),
        (AutoViTSpace, {'around': 'xs', 'table': 'xs'}, "table: got 'xs', allowed: a dict"),
        (AutoViTSpace, {'around': 'xs', 'table': {'head': [1]}}, 'table: surplus head'),
        (AutoViTSpace, {'around': 'xs', 'table': {'widths': [[64]] * 3}}, 'table.widths: .* a list of 4 values'),
        (AutoViTSpace, {'around': 'xs', 'table': {'num_heads': [7]}}, 'table.num_heads: got 7, allowed: at most 6'),
        (AutoViTSpace, {'around': 'xs', 'table': {'num_stages': [5]}}, 'table.num_stages: got 5, allowed: at most 4'),
        (AutoViTSpace, {'around': 'xs', 'table': {'num_stages': [2]}}, 'table.num_stages: got 2, allowed: an int'),
        (AutoViTSpace, {'around': 'xs', 'transformer_only': True}, 'transformer_only: got True'),
        (EfficientNetLiteSpace, {'around': 'xs'}, "around: EfficientNetLite arch: got 'xs', allowed: one of"),
        (EfficientNetLiteSpace, {'around': 'lite0', 'head_widths': [1281]}, 'head_widths: got 1281, allowed: at most'),
        (EfficientNetLiteSpace, {'around': 'lite0', 'depths': [[2]] * 7}, r'depths\[0\]: got 2, allowed: at most 1'),
        (EfficientNetLiteSpace, {'around': 'lite0', 'kernel_sizes': [[5]] * 7}, r'kernel_sizes\[0\]: got 5, allowed: '),
        (EfficientNetLiteSpace, {'around': 'lite0', 'expand_ratios': [[1]] * 6}, 'expand_ratios: .* 7'),
    ],
)  # fmt: skip
def test_mistakes_are_named(family, arguments, message):
    with pytest.raises(ValueError, match=message):
        family(**arguments)


@pytest.mark.parametrize('family', FAMILIES)
def test_a_network_of_another_family_is_refused(family):
    for other, (_, presets) in FAMILIES.items():
        if other is not family:
            for arch in presets.values():
                with pytest.raises(ValueError, match=r'around: \w+ arch: missing'):
                    family(around=arch)
