"""What every space promises, on all of them; and what the walk promises, on a toy."""

import copy
import itertools
import json
import math
import pickle
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmhybrid.archs.base import plain_arch
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import (
    Arch,
    AutoViTSpace,
    Choice,
    EfficientNetLiteSpace,
    Fact,
    GLiTSpace,
    GLNetSpace,
    Rule,
    SearchSpace,
)


class Toy(SearchSpace):
    """Two or three widths that never decrease; a kernel where at least one of the two switches is on."""

    def __init__(self, max_width=3, restrict=None):
        widths = tuple(range(1, max_width + 1))
        steps = [
            Choice('depth', (2, 3), is_depth=True),
            Choice('layers.0.width', widths),
            *(
                Choice(
                    f'layers.{i}.width',
                    widths,
                    Rule(('depth',), lambda depth, i=i: depth > i),
                    Rule((f'layers.{i - 1}.width',), lambda width, before: width >= before),
                )
                for i in (1, 2)
            ),
            Choice('a.on', (False, True)),
            Choice('b.on', (False, True)),
            Fact('any', ('a.on', 'b.on'), lambda a, b: a or b),
            Choice('kernel', (3, 5, 7), Rule(('any',), lambda is_on: is_on)),
        ]
        super().__init__(steps, {'max_width': max_width}, restrict)

    def _decode(self, arch):
        return dict(arch)


class Independent(SearchSpace):
    """Three blocks, each with a depth and three other genes, all of five values and without any rule."""

    BLOCKS = ('blocks.0', 'blocks.1', 'blocks.2')

    def __init__(self, restrict=None):
        steps = [
            Choice(f'{block}.{name}', (0, 1, 2, 3, 4), is_depth=name == 'depth')
            for block in self.BLOCKS
            for name in ('depth', 'width', 'kernel', 'ratio')
        ]
        super().__init__(steps, {}, restrict)

    def _decode(self, arch):
        return dict(arch)


SPACES = {
    'toy': Toy(),
    'glit flat': GLiTSpace(),
    'glit distribution': GLiTSpace(384, 6, level='distribution'),
    'glit detail': GLiTSpace(768, 12, level='detail'),
    'glit attention': GLiTSpace(level='attention'),
    'autovit xxs': AutoViTSpace('xxs'),
    'autovit xs': AutoViTSpace('xs'),
    'autovit s': AutoViTSpace('s'),
    'autovit union': AutoViTSpace('union'),
    'autovit free union': AutoViTSpace('union-free'),
    'autovit transformer-only': AutoViTSpace('xxs', transformer_only=True),
    'efficientnet-lite': EfficientNetLiteSpace(),
    'glnet': GLNetSpace(),
    'glnet narrow': GLNetSpace(restrict={'stages.*.depth': [2, 3, 6], 'stages.1.blocks.*.mixer': 'mhsa'}),
}
ANY_SPACE = st.sampled_from(list(SPACES.values()))
SEED = st.integers(0, 2**32)


def draw(space, seed):
    return space.sample(random.Random(seed))


@given(ANY_SPACE, SEED)
def test_sample_is_a_canonical_member(space, seed):
    arch = draw(space, seed)
    assert space.why_not(arch) is None
    assert space.contains(arch)
    assert space.canonical(arch) == arch
    assert list(space.canonical(dict(reversed(list(arch.items()))))) == list(arch)


@given(ANY_SPACE, SEED, SEED)
def test_genes_without_effect_are_dropped(space, seed, other_seed):
    """All genes that the arch has not, filled in from elsewhere, change nothing."""
    arch = draw(space, seed)
    rng = random.Random(other_seed)
    filled = {name: rng.choice(choice.values) for name, choice in space.choices.items()} | dict(arch)
    assert space.canonical(filled) == arch
    assert space.decode(filled) == space.decode(arch)
    if len(filled) > len(arch):
        assert 'has no effect' in space.why_not(filled)


@given(ANY_SPACE, SEED, SEED)
def test_archs_and_networks_are_one_to_one(space, seed, other_seed):
    a, b = draw(space, seed), draw(space, other_seed)
    networks_equal = (space.decode(a), space.resolution(a)) == (space.decode(b), space.resolution(b))
    assert networks_equal == (a == b)


@given(ANY_SPACE, SEED)
def test_decode_is_plain_json(space, seed):
    decoded = space.decode(draw(space, seed))
    written = plain_arch(decoded)
    assert json.loads(json.dumps(written)) == written
    assert space.arch_class is None or space.arch_class.parse(written) == decoded


@given(ANY_SPACE, SEED, SEED, st.floats(0, 1))
def test_mutants_are_members(space, seed, other_seed, prob):
    arch = draw(space, seed)
    rng = random.Random(other_seed)
    assert space.contains(space.mutate(arch, rng, prob))
    assert space.contains(space.mutate_blocks(arch, rng, prob, 1 - prob))
    assert space.mutate(arch, rng, 0) == arch
    assert space.mutate_blocks(arch, rng, 0, 0) == arch


@given(ANY_SPACE, SEED, SEED, SEED)
def test_children_are_members_made_of_their_parents(space, seed, other_seed, third_seed):
    a, b = draw(space, seed), draw(space, other_seed)
    child = space.crossover(a, b, random.Random(third_seed))
    assert space.contains(child)
    limited = {name for name, choice in space.choices.items() if choice.limit is not None}
    for name in child.keys() & (a.keys() | b.keys()) - limited:
        assert child[name] in (a.get(name), b.get(name))
    assert space.crossover(a, a, random.Random(third_seed)) == a


def is_frequency(count, trials, probability):
    """Within six standard deviations."""
    return abs(count - trials * probability) <= 6 * math.sqrt(trials * probability * (1 - probability))


@given(ANY_SPACE, SEED, SEED, SEED)
@settings(max_examples=30)
def test_genes_come_from_either_parent_with_equal_chance(space, seed, other_seed, third_seed):
    """Those without a rule, which every network has."""
    a, b = draw(space, seed), draw(space, other_seed)
    rng = random.Random(third_seed)
    children = [space.crossover(a, b, rng) for _ in range(200)]
    for name, choice in space.choices.items():
        if choice.when is None and choice.limit is None and a[name] != b[name]:
            assert is_frequency(sum(child[name] == a[name] for child in children), len(children), 1 / 2), name


def test_genes_are_inherited_one_by_one():
    """Of parents that have no gene in common; two genes come from the same parent in half of the children."""
    space = Independent()
    a, b = space.smallest(), space.largest()
    assert len(a) == 12
    assert not any(a[name] == b[name] for name in a)
    rng = random.Random(4)
    trials = 1000
    from_a = [[child[name] == a[name] for name in a] for child in (space.crossover(a, b, rng) for _ in range(trials))]
    assert sum(len(set(genes)) == 2 for genes in from_a) > 0.98 * trials  # all but 2 in 2 ** 12
    for i, j in itertools.combinations(range(12), 2):
        assert is_frequency(sum(genes[i] == genes[j] for genes in from_a), trials, 1 / 2), (i, j)


def test_an_inherited_value_must_go_with_the_earlier_ones():
    """Behind a first width of 3 only the parent's second width of 3 is left."""
    space = Toy(restrict={'depth': 2, '*.on': False})
    narrow, wide = space.smallest(), space.largest()
    rng = random.Random(5)
    trials = 1000
    children = (space.crossover(narrow, wide, rng) for _ in range(trials))
    counts = Counter((child['layers.0.width'], child['layers.1.width']) for child in children)
    assert counts.keys() == {(1, 1), (1, 3), (3, 3)}
    for widths, probability in {(1, 1): 1 / 4, (1, 3): 1 / 4, (3, 3): 1 / 2}.items():
        assert is_frequency(counts[widths], trials, probability), widths


@given(ANY_SPACE, SEED)
def test_json_round_trip_of_archs(space, seed):
    arch = draw(space, seed)
    restored = Arch.from_json(arch.to_json())
    assert restored == arch
    assert space.canonical(json.loads(arch.to_json())).to_json() == arch.to_json()


@given(ANY_SPACE, SEED)
def test_everything_follows_from_the_generator(space, seed):
    def history():
        rng = random.Random(seed)
        a, b = space.sample(rng), space.sample(rng)
        return a, b, space.mutate(a, rng, 0.3), space.mutate_blocks(b, rng), space.crossover(a, b, rng), rng.random()

    state = random.getstate()
    assert history() == history()
    assert random.getstate() == state


@given(ANY_SPACE, SEED, SEED)
@settings(max_examples=40)
def test_restrict_to_some_genes_of_an_arch(space, seed, other_seed):
    arch = draw(space, seed)
    rng = random.Random(other_seed)
    fixed = {name: value for name, value in arch.items() if rng.random() < 0.5}
    smaller = space.restrict(fixed)
    assert 1 <= smaller.size() <= space.size()
    assert smaller.contains(arch)
    other = smaller.sample(rng)
    assert space.contains(other)
    assert all(other[name] == fixed[name] for name in other.keys() & fixed.keys())
    assert smaller.decode(other) == space.decode(other)


@pytest.mark.parametrize('name', SPACES)
def test_restrict_to_a_whole_arch_leaves_one(name):
    space = SPACES[name]
    arch = draw(space, 5)
    single = space.restrict(arch)
    assert single.size() == 1
    assert single.smallest() == single.largest() == draw(single, 6) == arch


@pytest.mark.parametrize('name', SPACES)
def test_smallest_and_largest(name):
    space = SPACES[name]
    smallest, largest = space.smallest(), space.largest()
    assert space.contains(smallest)
    assert space.contains(largest)
    for gene in smallest.keys() & largest.keys():
        values = space.choices[gene].values
        assert values.index(smallest[gene]) <= values.index(largest[gene])


@pytest.mark.parametrize('name', [name for name in SPACES if name != 'toy'])
def test_config_round_trip_through_the_registry(name):
    space = SPACES[name]
    config = json.loads(json.dumps(space.to_config()))
    for rebuilt in (
        type(space).from_config(config),
        SEARCH_SPACES.build({**config, 'type': f'mmhybrid.{config["type"]}'}),
    ):
        assert rebuilt.to_config() == config
        assert rebuilt.size() == space.size()
        assert draw(rebuilt, 1) == draw(space, 1)


def test_spaces_survive_copying():
    space = GLiTSpace(num_blocks=2, restrict={'blocks.*.mlp_ratio': [2, 4]})
    for copied in (copy.deepcopy(space), pickle.loads(pickle.dumps(space))):  # noqa: S301
        assert copied.to_config() == space.to_config()
        assert draw(copied, 3) == draw(space, 3)


SMALL = {
    'toy': Toy(),
    'toy, dead ends': Toy(max_width=4, restrict={'layers.1.width': 2}),
    'toy, no kernel': Toy(restrict={'*.on': False}),
    'glit flat': GLiTSpace(num_blocks=1),
    'glit detail': GLiTSpace(num_blocks=2, level='detail', restrict={'*.num_attn_heads': [1, 0]}),
    'glit distribution': GLiTSpace(num_blocks=4, level='distribution'),
    'autovit monotone': AutoViTSpace(
        'xxs',
        restrict={
            'resolution': 224, 'stem.*': 16, 'conv.*.depth': 2, 'conv.*.kernel': 3, 'conv.2.width': 32,
            'stages.*.depth': 2, 'stages.*.num_heads': 3, 'stages.*.mlp_ratio': 2, 'num_stages': [3, 4],
        },
    ),
    'autovit union': AutoViTSpace(
        'union',
        restrict={
            'resolution': 224, 'stem.*': 16, 'conv.*.depth': 2, 'conv.*.kernel': 3, 'conv.1.width': [24, 32],
            'conv.2.width': [32, 48], 'num_stages': [3, 5], 'stages.*.depth': 2, 'stages.0.num_heads': [3, 4],
            'stages.[1234].num_heads': 4, 'stages.*.mlp_ratio': 2, 'stages.0.width': [64, 96, 128],
            'stages.1.width': [80, 96], 'stages.3.width': 112,
        },
    ),
    'autovit free union': AutoViTSpace(
        'union-free',
        restrict={
            'resolution': [192, 256], 'stem.*': 16, 'conv.*.depth': 2, 'conv.*.kernel': 3, 'conv.*.width': [32, 48],
            'stages.*.depth': 2, 'stages.*.num_heads': 3, 'stages.*.mlp_ratio': 2, 'stages.*.width': [64, 96, 128],
        } | {'conv.0.width': 32, 'conv.1.width': 32, 'conv.2.width': 32},
    ),
    'efficientnet-lite': EfficientNetLiteSpace(
        [192, 224], [32], [[16], [24], [40, 48], [80], [112], [192], [320]], [[1], [1, 2, 3], [1], [1], [1], [1], [1]],
        [[3], [3, 5], [5], [3], [5], [5], [3]], [[1], [4, 6], [6], [6], [6], [6], [6]],
    ),
    'glnet': GLNetSpace(
        depths=[[1, 2], [1], [1], [1]], local_kernels=[3, 5], num_slots=[9, 64],
        restrict={
            'stages.*.width': [64, 128, 256, 512], 'stages.*.ffn_ratio': 3, 'overlapped_patches': True,
            'stages.1.blocks.*.mixer': 'mhsa', 'stages.3.blocks.*.mixer': 'mhsa', 'conv_ffn': False,
            'stages.2.num_slots': 9,
        },
    ),
}  # fmt: skip


def enumerate_networks(space):
    """All networks, by trying every combination of values."""
    networks = set()
    for values in itertools.product(*(choice.values for choice in space.choices.values())):
        genes = dict(zip(space.choices, values, strict=True))
        if space.why_not(genes) is None or 'has no effect' in space.why_not(genes):
            networks.add(json.dumps([plain_arch(space.decode(genes)), space.resolution(genes)], sort_keys=True))
    return networks


@pytest.mark.parametrize('name', SMALL)
def test_size_is_the_number_of_networks(name):
    space = SMALL[name]
    assert math.prod(len(choice.values) for choice in space.choices.values()) < 50_000
    assert space.size() == len(enumerate_networks(space))


def test_size_of_the_toy():
    # C(4, 2) and C(5, 3) non-decreasing width lists; three of four switch settings have a kernel of three
    assert Toy().size() == (6 + 10) * (1 + 3 * 3)


def test_sampling_reaches_every_network():
    space = Toy()
    rng = random.Random(0)
    assert len({space.sample(rng) for _ in range(8000)}) == space.size()


def test_sample_is_uniform_gene_by_gene():
    """P(arch) is the product of 1 / (values still open), stated in closed form for depth 2."""
    space = Toy(restrict={'depth': 2, '*.on': False})
    rng = random.Random(1)
    trials = 9000
    counts = Counter(
        (arch['layers.0.width'], arch['layers.1.width']) for arch in (space.sample(rng) for _ in range(trials))
    )
    for first, second in itertools.combinations_with_replacement((1, 2, 3), 2):
        probability = 1 / 3 / (4 - first)
        deviation = math.sqrt(trials * probability * (1 - probability))
        assert abs(counts[first, second] - trials * probability) < 5 * deviation
    assert sum(counts.values()) == trials


def test_dead_ends_are_never_entered():
    """With the second width fixed at 2, the first cannot be 3 although it may be taken by itself."""
    space = Toy(max_width=4, restrict={'layers.1.width': 2})
    rng = random.Random(0)
    assert {space.sample(rng)['layers.0.width'] for _ in range(200)} == {1, 2}
    genes = {**space.smallest(), 'layers.0.width': 3}
    assert space.why_not(genes) == 'layers.0.width: got 3, allowed: one of [1, 2]'
    wide = Toy(max_width=4)
    parent = wide.canonical({**wide.smallest(), 'layers.0.width': 3, 'layers.1.width': 4})
    assert 'layers.0.width: got 3' in space.why_not(parent)
    with pytest.raises(ValueError, match=r'layers\.0\.width: got 3'):
        space.mutate(parent, rng)
    with pytest.raises(ValueError, match=r'layers\.0\.width: got 3'):
        space.crossover(space.smallest(), parent, rng)


def test_redraw_probability():
    """A gene hit is redrawn among all its values: it changes with probability prob * (n - 1) / n."""
    space = GLiTSpace(level='distribution')
    parent = space.smallest()
    rng = random.Random(2)
    trials, prob = 1000, 0.1
    mutants = [space.mutate(parent, rng, prob) for _ in range(trials)]
    distribution = [name for name in parent if name.endswith('num_attn_heads')]
    changed = sum(mutant[name] != parent[name] for mutant in mutants for name in distribution)
    expected = trials * len(distribution) * prob * 3 / 4
    assert abs(changed - expected) < 5 * math.sqrt(expected)


@given(SEED, SEED, st.floats(0.1, 0.9), st.floats(0.1, 0.9))
@settings(max_examples=20)
def test_depths_are_redrawn_together_and_so_is_a_block(seed, other_seed, depth_prob, block_prob):
    """What is redrawn comes out as it was once in 5 ** (its number of genes)."""
    space = Independent()
    parent = draw(space, seed)
    rng = random.Random(other_seed)
    trials = 400
    mutants = [space.mutate_blocks(parent, rng, depth_prob, block_prob) for _ in range(trials)]
    groups = {block: [f'{block}.{name}' for name in ('width', 'kernel', 'ratio')] for block in space.BLOCKS}
    groups['depths'] = [f'{block}.depth' for block in space.BLOCKS]
    same = {
        group: [all(mutant[name] == parent[name] for name in names) for mutant in mutants]
        for group, names in groups.items()
    }
    prob = {**dict.fromkeys(space.BLOCKS, block_prob), 'depths': depth_prob}
    unchanged = {group: 1 - prob[group] + prob[group] / 5**3 for group in groups}
    for group, names in groups.items():
        assert is_frequency(sum(same[group]), trials, unchanged[group]), group
        for name in names:
            changed = sum(mutant[name] != parent[name] for mutant in mutants)
            assert is_frequency(changed, trials, prob[group] * 4 / 5), name
    for one, other in itertools.combinations(groups, 2):  # each group for itself
        both = sum(a and b for a, b in zip(same[one], same[other], strict=True))
        assert is_frequency(both, trials, unchanged[one] * unchanged[other]), (one, other)


def test_mutate_blocks_separates_depth_from_blocks():
    space = AutoViTSpace('xxs')
    parent = space.largest()
    rng = random.Random(3)
    depth_genes = {name for name, choice in space.choices.items() if choice.is_depth}
    assert depth_genes == {
        'num_stages',
        *(f'stages.{i}.depth' for i in range(5)),
        *(f'conv.{i}.depth' for i in range(3)),
    }

    def changed(depth_prob, block_prob):
        mutants = [space.mutate_blocks(parent, rng, depth_prob, block_prob) for _ in range(50)]
        return {name for mutant in mutants for name in mutant if mutant[name] != parent[name]}

    assert changed(1, 0) == depth_genes
    # the fifth stage takes one width, the smaller widths of the others are all allowed
    assert changed(0, 1) == space.choices.keys() - depth_genes - {'stages.4.width'}
    one_block = {
        frozenset(name.rpartition('.')[0] for name in parent if mutant.get(name) != parent[name])
        for mutant in (space.mutate_blocks(parent, rng, 0, 0.02) for _ in range(200))
    }
    assert frozenset({'stages.1'}) in one_block


@pytest.mark.parametrize(
    ('genes', 'reason'),
    [
        ({'depth': 4}, 'depth: got 4, allowed: one of [2, 3]'),
        ({'depth': '2'}, "depth: got '2', allowed: one of [2, 3]"),
        ({'a.on': 1}, 'a.on: got 1, allowed: one of [False, True]'),
        ({'layers.0.width': True}, 'layers.0.width: got True, allowed: one of [1, 2, 3]'),
        ({'layers.0.width': 3}, 'layers.1.width: got 1, allowed: one of [3] after layers.0.width = 3'),
        ({'layers.2.width': 3}, 'layers.2.width: has no effect in this network and does not belong to its arch'),
        ({'depth': 3}, 'layers.2.width: missing, allowed: one of [1, 2, 3]'),
        ({'a.on': True}, 'kernel: missing, allowed: one of [3, 5, 7]'),
        ({'widht': 3}, "gene: got 'widht', allowed: one of ['depth', 'layers.*.width', 'a.on', 'b.on', 'kernel']"),
        ({'kernel': [3]}, 'kernel: got [3], allowed: an int, a finite float, a str or a bool'),
    ],
)
def test_reasons(genes, reason):
    space = Toy()
    wrong = {**space.smallest(), **genes}
    assert space.why_not(wrong) == reason
    assert not space.contains(wrong)
    if 'no effect' not in reason:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            space.canonical(wrong)
        assert str(caught.value) == reason


def test_values_come_back_as_the_choice_has_them():
    space = Toy()
    arch = space.canonical({name: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
                            for name, value in space.smallest().items()})  # fmt: skip
    assert arch.to_json() == space.smallest().to_json()


@pytest.mark.parametrize(
    ('restrict', 'named'),
    [
        ({'widht': 3}, 'widht'),
        ({'*.widht': 3}, 'widht'),
        ({'depth': 5}, 'depth: got 5'),
        ({'depth': []}, r'depth: got \[\]'),
        ({'a.on': 0}, 'a.on: got 0'),
        ({'layers.0.width': 3, 'layers.1.width': 1}, 'at least one network'),
        ({'layers.*.width': [1, 2], 'layers.1.*': 3}, r'layers\.1\.width: got 3, allowed: at least one of \[1, 2\]'),
        ({'*': [True, 7]}, r'depth: got \[True, 7\]'),
        ([('depth', 2)], 'a mapping'),
    ],
)
def test_restrictions_that_cannot_be(restrict, named):
    with pytest.raises(ValueError, match=named):
        Toy(restrict=restrict)
    with pytest.raises(ValueError, match=named):
        Toy().restrict(restrict)


def test_restrict_narrows_and_never_widens():
    space = Toy(restrict={'layers.0.width': [1, 2]})
    smaller = space.restrict({'kernel': (7, 3)})
    assert smaller.choices['kernel'].values == (3, 7)
    assert smaller.choices['layers.0.width'].values == (1, 2)
    assert smaller.to_config() == {
        'type': 'Toy',
        'max_width': 3,
        'restrict': {'layers.0.width': [1, 2], 'kernel': [3, 7]},
    }
    assert space.restrict({'kernel': [3, 5, 7]}).to_config() == space.to_config()
    with pytest.raises(ValueError, match=r'layers\.0\.width: got 3'):
        space.restrict({'layers.0.width': 3})


@pytest.mark.parametrize('config', [{'type': 'GLiTSpace'}, {'type': 'Toy', 'max_widht': 3}, {'max_width': 3}, 'Toy'])
def test_configs_that_cannot_be(config):
    with pytest.raises(ValueError, match=r'type|Toy config'):
        Toy.from_config(config)


@pytest.mark.parametrize('prob', [-0.1, 1.1, float('nan'), None])
def test_probabilities_are_checked(prob):
    space = Toy()
    for mutate in (space.mutate, space.mutate_blocks):
        with pytest.raises(ValueError, match='prob'):
            mutate(space.smallest(), random.Random(0), prob)


@pytest.mark.parametrize('values', [(), [1, 2], (1, 1), (1, 1.0), (None,), (float('nan'),)])
def test_choices_check_their_values(values):
    with pytest.raises(ValueError, match='width'):
        Choice('width', values)


def test_a_space_of_many_genes_is_built_and_counted():
    """One chain of 2,000 genes in which each value bounds the next: a count that a loop over the values confirms."""
    values = (1, 2, 3)
    steps = [Choice('genes.0', values)]
    for i in range(1, 2000):
        steps.append(
            Choice(f'genes.{i}', values, limit=Rule((f'genes.{i - 1}',), lambda value, before: value >= before))
        )
    space = SearchSpace(steps, {}, None)
    # non-decreasing sequences: where the value changes from 1 to 2 and from 2 to 3
    assert space.size() == math.comb(2000 + 2, 2)
    rng = random.Random(0)
    arch = space.sample(rng)
    assert space.contains(space.mutate(arch, rng, 0.01))
    assert len(space.crossover(arch, space.largest(), rng)) == 2000


def test_a_space_whose_rules_remember_everything_is_refused_with_the_number_of_states():
    steps = [Choice(f'genes.{i}', tuple(range(10))) for i in range(12)]
    names = tuple(step.name for step in steps)
    steps.append(Choice('last', (0, 1), when=Rule(names, lambda *genes: sum(genes) % 7 == 0)))
    with pytest.raises(ValueError, match=r'genes\.5.*more than 500000 combinations.*Fact'):
        SearchSpace(steps, {}, None)
