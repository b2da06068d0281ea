"""Assignment maps are what the layers compute with; representatives are medoids; all of it is drawn."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmhybrid.models.backbones.autovit import AutoViT
from mmhybrid.models.backbones.glnet import GLNet
from mmhybrid.visualization import slots
from mmhybrid.visualization.bitmap import Bitmap, colored
from mmhybrid.visualization.host import Photograph
from mmhybrid.visualization.picture import Rect, Text

DEPTHS = (1, 1, 2, 1)


def build(mixer='glmix', learned=False):
    torch.manual_seed(0)
    arch = {
        'embed_dims': [32, 32, 64, 64],
        'depths': DEPTHS,
        'ffn_ratios': [1] * 4,
        'mixers': ['mhsa', mixer, ['mhsa', mixer], 'mhsa'],
        'num_slots': [4, 9, 16, 4],
        'learned_slots': learned,
        'pos_encoding': True,
    }
    network = GLNet(arch).eval()
    network.init_weights()
    for block in slots.slot_blocks(network) if mixer != 'local' else ():
        block.layer.scale.data.fill_(5)  # assignments as a trained network has them, far from uniform
    return network


@pytest.fixture(scope='module')
def inputs():
    return torch.randn(1, 3, 70, 102, generator=torch.Generator().manual_seed(0))


def photograph(height=60, width=90):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Photograph('some-scene', pixels, torch.zeros(1, 3, height, width))


@pytest.mark.parametrize('learned', [False, True])
@pytest.mark.parametrize('mixer', ['glmix', 'global', 'global-local', 'local-global', 'window-global'])
def test_mixing_with_the_maps_gives_the_output_of_the_layer(mixer, learned, inputs):
    network = build(mixer, learned)
    blocks = slots.slot_blocks(network)
    computed = {}
    for block in blocks:
        block.layer.register_forward_hook(lambda layer, args, out: computed.__setitem__(layer, (args[0], out)))
    dispatch, clustering = (slots.assignment_maps(network, blocks, inputs, name) for name in slots.WEIGHTS)
    for block, to_pixels, to_slots in zip(blocks, dispatch, clustering, strict=True):
        x, out = computed[block.layer]
        assert to_pixels.shape == to_slots.shape == (block.layer.grid_size**2, *x.shape[2:])
        with torch.inference_mode():
            mixed = block.layer.attention((torch.from_numpy(to_slots).flatten(1) @ x[0].flatten(1).T)[None])[0]
            mixed = mixed.T @ torch.from_numpy(to_pixels).flatten(1)
        torch.testing.assert_close(mixed.unflatten(1, x.shape[2:]), out[0], rtol=1e-4, atol=1e-5)


def test_weights_sum_to_one(inputs):
    network = build()
    blocks = slots.slot_blocks(network)
    for name, axis in (('dispatch', 0), ('clustering', (1, 2))):
        for maps in slots.assignment_maps(network, blocks, inputs, name):
            assert maps.min() >= 0
            np.testing.assert_allclose(maps.sum(axis), 1, rtol=1e-5)
            assert maps.max() > 1.5 * maps.mean()
    with pytest.raises(ValueError, match=r"weights: got 'argmax'.*dispatch"):
        slots.assignment_maps(network, blocks, inputs, 'argmax')


def test_looking_leaves_the_network_as_it_was(inputs):
    network = build()
    blocks = slots.slot_blocks(network)
    before = network(inputs)[0]
    first, second = (slots.assignment_maps(network, blocks, inputs) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any(module._forward_pre_hooks for module in network.modules())
    torch.testing.assert_close(network(inputs)[0], before, rtol=0, atol=0)


def test_blocks_are_counted_over_all_stages():
    blocks = slots.slot_blocks(build())
    assert [(block.number, block.stage) for block in blocks] == [(2, 2), (4, 3)]
    assert [block.name for block in slots.choose_blocks(blocks, None)] == ['block 4 (stage 3)']
    assert [block.number for block in slots.choose_blocks(blocks[:1], None)] == [2]
    assert [block.number for block in slots.choose_blocks(blocks, [4, 2])] == [4, 2]
    with pytest.raises(ValueError, match='--blocks: got 3, allowed: a block with slots: 2, 4'):
        slots.choose_blocks(blocks, [2, 3])


def test_the_papers_networks_show_block_5_unless_told_otherwise():
    with torch.device('meta'):
        blocks = slots.slot_blocks(GLNet('stl'))
    assert [block.number for block in blocks] == list(range(1, 11))
    assert [block.number for block in slots.choose_blocks(blocks, None)] == [5]


@pytest.mark.parametrize('backbone', [build('local'), AutoViT('xxs')], ids=['no slots', 'no GLNet'])
def test_a_backbone_without_slots(backbone):
    with pytest.raises(ValueError, match='has no slots'):
        slots.slot_blocks(backbone)


@given(st.integers(0, 2**32 - 1), st.integers(5, 16))
def test_no_swap_makes_the_representatives_better(seed, count):
    maps = np.random.default_rng(seed).random((count, 2, 3))
    chosen = slots.representatives(maps)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 4
    assert set(chosen) <= set(range(count))
    assert chosen == slots.representatives(maps.copy())

    def loss(medoids):
        distances = np.linalg.norm((maps[:, None] - maps[None, medoids]).reshape(count, len(medoids), -1), axis=-1)
        return distances.min(1).sum()

    others = sorted(set(range(count)) - set(chosen))
    swaps = [[other, *(kept for kept in chosen if kept != leaving)] for leaving in chosen for other in others]
    assert loss(chosen) <= min(map(loss, swaps)) + 1e-9


def test_each_group_of_slots_is_represented():
    groups = np.repeat(np.eye(4), 4, axis=0) + np.tile([[0.0], [0.01], [0.02], [0.03]], (4, 1))
    assert [slot // 4 for slot in slots.representatives(groups.reshape(16, 2, 2))] == [0, 1, 2, 3]


@pytest.mark.parametrize('count', [1, 4])
def test_few_slots_represent_themselves(count):
    assert slots.representatives(np.ones((count, 2, 2))) == list(range(count))


@pytest.mark.parametrize('count', [1, 4, 9, 64])
def test_all_slots_and_the_representatives_are_drawn(count):
    maps = np.random.default_rng(0).random((count, 3, 5))
    panels = [[slots.Panel(f'{row}{column}', maps) for column in 'ab'] for row in (1, 2, 3)]
    picture = slots.draw_slots(photograph(), panels)
    shapes = list(picture.shapes)
    large = min(count, 4)
    assert sum(isinstance(shape, Bitmap) for shape in shapes) == 1 + 6 * (1 + count + large)
    assert sum(isinstance(shape, Rect) for shape in shapes) == 6 * 2 * large  # a frame, and what its number stands on
    texts = [shape.text for shape in shapes if isinstance(shape, Text)]
    assert {'some-scene', '90 x 60 pixels', *(panel.title for row in panels for panel in row)} <= set(texts)
    assert sum(text.startswith('slot ') for text in texts) == 6 * large
    for slot in slots.representatives(maps):
        number, values = f'{slot + 1}', maps[slot]
        assert texts.count(f'slot {number}') == texts.count(number) == 6
        assert texts.count(slots.range_text(values.min(), values.max())) == 6
    for shape in shapes:
        assert 0 <= shape.x <= picture.width
        assert 0 <= shape.y <= picture.height
        if isinstance(shape, Bitmap):
            assert shape.x + shape.width <= picture.width
            assert shape.y + shape.height <= picture.height
        elif isinstance(shape, Text):
            assert shape.x + shape.length <= picture.width


def test_colors_span_the_block_or_what_is_asked_for():
    maps = np.linspace(0.2, 0.4, 4 * 6).reshape(4, 2, 3)
    bitmaps = {}
    for limits in (None, (0.0, 1.0)):
        shapes = slots.draw_slots(photograph(), [[slots.Panel('a', maps, limits)]]).shapes
        bitmaps[limits] = [shape.pixels for shape in shapes if isinstance(shape, Bitmap)][2:6]
        texts = {shape.text for shape in shapes if isinstance(shape, Text)}
        assert {f'{value:.3g}' for value in limits or (0.2, 0.4)} <= texts
    ends = colored(np.array([[0.0, 1.0]]), 0, 1, slots.COLORS)[0]
    np.testing.assert_array_equal(bitmaps[None][0][0, 0], ends[0])
    np.testing.assert_array_equal(bitmaps[None][3][-1, -1], ends[1])
    np.testing.assert_array_equal(bitmaps[0.0, 1.0][3], colored(maps[3], 0, 1, slots.COLORS))


def test_a_range_of_the_block_is_not_repeated_below_each_map():
    maps = np.random.default_rng(0).random((4, 2, 3))
    shapes = slots.draw_slots(photograph(), [[slots.Panel('a', maps, (0.0, 1.0))]]).shapes
    assert not [shape for shape in shapes if isinstance(shape, Text) and ' to ' in shape.text]


@pytest.mark.parametrize(
    ('low', 'high', 'text'),
    [
        (0, 1, '0 to 1'),
        (0.0153, 0.016, '0.0153 to 0.016'),
        (0.015611, 0.015659, '0.01561 to 0.01566'),
        (0.0156111, 0.0156114, '0.015611 to 0.015611'),
    ],
)
def test_ranges_have_the_digits_that_tell_them_apart(low, high, text):
    assert slots.range_text(low, high) == text
    assert Text(0, 0, text, slots.SMALL).length < slots.RANGE_LENGTH


@pytest.mark.parametrize('shape', [(90, 30), (60, 60), (30, 90)])
def test_ranges_do_not_overlap(shape):
    maps = 0.015625 + 1e-6 * np.random.default_rng(0).random((9, 2, 2))
    picture = slots.draw_slots(photograph(*shape), [[slots.Panel('a', maps)] * 2])
    texts = sorted(
        (shape.y, shape.x, shape.length) for shape in picture.shapes if isinstance(shape, Text) and ' to ' in shape.text
    )
    assert len(texts) == 8
    for (y, x, length), (next_y, next_x, _) in pairwise(texts):
        assert next_y > y or next_x >= x + length


def test_long_names_widen_the_picture():
    maps = np.random.default_rng(0).random((4, 2, 2))
    narrow = photograph(90, 20)
    usual = slots.draw_slots(narrow, [[slots.Panel('a', maps), slots.Panel('b', maps)]])
    picture = slots.draw_slots(narrow, [[slots.Panel('a' * 50, maps), slots.Panel('b' * 50, maps)]])
    first, second = (shape for shape in picture.shapes if isinstance(shape, Text) and len(shape.text) == 50)
    assert first.x + first.length < second.x
    assert second.x + second.length < picture.width
    assert usual.width < picture.width


@pytest.mark.parametrize('limits', [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0.0, 1.1), (0.0, float('nan'))])
def test_limits_are_weights(limits):
    with pytest.raises(ValueError, match='--range: got'):
        slots.check_limits(*limits)


def test_png_is_the_same_each_time():
    maps = np.random.default_rng(0).random((9, 4, 4))
    first, second = (slots.draw_slots(photograph(), [[slots.Panel('a', maps)]]).png_file() for _ in range(2))
    assert first == second
