"""A bar for each block of a network, as wide and as local as the block."""

import random
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmhybrid.archs import GLiTArch
from mmhybrid.space import AutoViTSpace, Choice, EfficientNetLiteSpace, GLiTSpace, GLNetSpace, SearchSpace
from mmhybrid.visualization.arch_drawing import (
    GLOBAL,
    LOCAL,
    arch_diagram,
    draw,
    thumbnail,
)

SVG = '{http://www.w3.org/2000/svg}'
SPACES = {
    'autovit': AutoViTSpace('xxs'),
    'autovit-union': AutoViTSpace('union'),
    'autovit-transformer': AutoViTSpace('xs', transformer_only=True),
    'efficientnet-lite': EfficientNetLiteSpace(),
    'glit': GLiTSpace(),
    'glit-small': GLiTSpace(384, 6, 12),
    'glnet': GLNetSpace(),
}
seeds = st.integers(0, 2**32)


def bars(picture):
    """Of each block, its title and the heights of its local and its global part."""
    root = ElementTree.fromstring(picture.svg_file())
    found = []
    for group in root.iter(f'{SVG}g'):
        heights = {rect.get('fill'): float(rect.get('height')) for rect in group.iter(f'{SVG}rect')}
        found.append((group.find(f'{SVG}title').text, heights.get(LOCAL, 0.0), heights.get(GLOBAL, 0.0)))
    return found


def expected(name, space, arch):
    """Of each block, its width and local share, from the genes."""
    if name.startswith('glit'):
        heads = [value for gene, value in arch.items() if gene.endswith('num_attn_heads')]
        return [(space.embed_dims, 1 - count / space.num_heads) for count in heads]
    if name == 'glnet':
        share = {'local': 1, 'glmix': 0.5, 'mhsa': 0}
        mixers = [(gene.split('.')[1], value) for gene, value in arch.items() if gene.endswith('.mixer')]
        return [(arch[f'stages.{stage}.width'], share[mixer]) for stage, mixer in mixers]
    blocks = [(arch['stem.width'], 1)]
    if name == 'efficientnet-lite':
        for i in range(7):
            blocks += [(arch[f'stages.{i}.width'], 1)] * arch[f'stages.{i}.depth']
        return [*blocks, (arch['head.width'], 1)]
    for i in range(3):
        blocks += [(arch[f'conv.{i}.width'], 1)] * arch.get(f'conv.{i}.depth', 1)
    for i in range(arch['num_stages']):
        blocks += [(arch[f'stages.{i}.width'], 0)] * arch[f'stages.{i}.depth']
    return blocks


@pytest.mark.parametrize('name', SPACES)
@pytest.mark.parametrize('make', [draw, thumbnail])
@given(seed=seeds)
def test_a_bar_for_each_block(name, make, seed):
    space = SPACES[name]
    arch = space.sample(random.Random(seed))
    drawn, blocks = bars(make(arch_diagram(space, arch))), expected(name, space, arch)
    assert len(drawn) == len(blocks)
    tallest = max(local + other for _, local, other in drawn)
    widest = max(width for width, _ in blocks)
    for (title, local, other), (width, share) in zip(drawn, blocks, strict=True):
        assert local + other == pytest.approx(tallest * width / widest, abs=0.2)
        assert local == pytest.approx(share * tallest * width / widest, abs=0.2)
        assert str(width) in title or name.startswith('glit')


@pytest.mark.parametrize('name', SPACES)
@given(seed=seeds)
def test_all_sizes_are_written_and_nothing_leaves_the_canvas(name, seed):
    space = SPACES[name]
    arch = space.sample(random.Random(seed))
    picture = draw(arch_diagram(space, arch))
    root = ElementTree.fromstring(picture.svg_file())
    words = ' '.join(text.text for text in root.iter(f'{SVG}text')).replace(',', ' ').split()
    numbers = {f'{value:g}' for value in arch.values() if not isinstance(value, str | bool)}
    inner = {f'{arch["num_stages"]}'} if 'num_stages' in arch else set()  # seen by the number of columns
    assert numbers - inner <= set(words)
    for rect in root.iter(f'{SVG}rect'):
        assert float(rect.get('x')) + float(rect.get('width')) <= picture.width
        assert 0 <= float(rect.get('y')) <= picture.height - float(rect.get('height'))


def test_columns_do_not_overlap():
    space = AutoViTSpace('xxs')
    root = ElementTree.fromstring(draw(arch_diagram(space, space.smallest())).svg_file())
    names = [t for t in root.iter(f'{SVG}text') if t.get('font-weight') and t.get('text-anchor') == 'middle']
    places = [float(name.get('x')) for name in names]
    assert [name.text for name in names][:3] == ['stem', 'conv 1', 'conv 2']
    line = root.find(f'{SVG}polyline').get('points').split()[-1].split(',')
    assert places[-1] + 1.1 * 12 * 0.56 * len(names[-1].text) / 2 <= float(line[0])  # bold
    for i in range(len(names) - 1):
        assert places[i + 1] - places[i] > 12 * 0.5 * (len(names[i].text) + len(names[i + 1].text)) / 2


def test_windows_are_called_windows():
    block = {'num_attn_heads': 1, 'qkv_ratio': 1, 'conv_ratio': 1, 'kernel_size': 14, 'mlp_ratio': 2}
    arch = {'embed_dims': 96, 'num_heads': 3, 'blocks': [block]}
    (column,) = GLiTArch.parse({**arch, 'locality': 'window'}).diagram().columns
    assert (column.sizes['window heads'], column.sizes['window']) == ('2', '14')
    assert not [name for name in column.sizes if 'conv' in name or 'kernel' in name]
    block['kernel_size'] = 7
    (column,) = GLiTArch.parse({**arch, 'locality': 'conv2d'}).diagram().columns
    assert (column.sizes['conv heads'], column.sizes['kernel']) == ('2', '7')


def test_different_networks_look_different():
    space = GLNetSpace()
    rng = random.Random(0)
    archs = {space.sample(rng) for _ in range(50)}
    assert len({draw(arch_diagram(space, arch)).svg_file() for arch in archs}) == len(archs)


def test_a_space_of_a_known_family_is_drawn_and_another_refused():
    class Own(AutoViTSpace):
        """A space of the user's."""

    class Other(SearchSpace):
        def __init__(self):
            super().__init__([Choice('a', (1, 2))], {}, None)

        def _decode(self, genes):
            return {'width': genes['a']}

    own = Own('xxs')
    assert arch_diagram(own, own.largest()) == arch_diagram(AutoViTSpace('xxs'), own.largest())
    assert arch_diagram(own, own.largest()).columns == own.decode(own.largest()).diagram().columns
    with pytest.raises(ValueError, match=r"'Other'.*NetworkArch.diagram"):
        arch_diagram(Other(), {'a': 1})
    with pytest.raises(ValueError, match='missing'):
        arch_diagram(own, {})
