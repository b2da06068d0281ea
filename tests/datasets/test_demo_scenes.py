import dataclasses
import importlib.util
import itertools
import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from mmhybrid.datasets import demo_data
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.datasets.demo_painting import paint_shape
from mmhybrid.datasets.demo_scenes import draw_scene, rasterise
from mmhybrid.datasets.demo_shapes import CLASSES, OUTLINES, SEGMENTATION_CLASSES, TEXTURES, Shape

TOOL = Path(__file__).parents[2] / 'tools' / 'make_demo_data.py'
ADE_SPLITS = {'train': 'training', 'val': 'validation'}
COUNTS = {'train': 60, 'val': 5}
SIZE = 64


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp('demo')
    assert make_demo_data(out, COUNTS['train'], COUNTS['val'], SIZE, seed=3)
    return out


@pytest.fixture(params=COUNTS)
def split(request):
    return request.param


@pytest.fixture
def coco(demo, split, capsys):
    return COCO(str(demo / f'coco/annotations/instances_{split}2017.json'))


def read_map(demo, split, file_name):
    path = demo / 'ade/annotations' / ADE_SPLITS[split] / Path(file_name).with_suffix('.png')
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


# Scenes


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    split=st.sampled_from(['train', 'val']),
    index=st.integers(0, 10**6),
    size=st.integers(32, 150),
)
def test_a_scene_agrees_with_itself(seed, split, index, size):
    scene = draw_scene(seed, split, index, size)
    assert scene.image.shape == (size, size, 3)
    assert scene.image.dtype == scene.label_map.dtype == np.uint8
    assert scene.label == index % len(CLASSES)
    expected = np.minimum(scene.label_map, 1)
    times_covered = np.zeros((size, size), dtype=int)
    for thing in scene.objects:
        expected[thing.mask] = thing.label + 2
        times_covered += thing.mask
        left, top, width, height = thing.box
        inside = thing.mask[top : top + height, left : left + width]
        assert inside.shape == (height, width)
        assert inside.sum() == thing.mask.sum() == thing.area > 0
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
    np.testing.assert_array_equal(scene.label_map, expected)
    assert times_covered.max() == 1
    areas = [thing.area for thing in scene.objects]
    largest = scene.objects[int(np.argmax(areas))]
    assert (largest.label, largest.is_crowd) == (scene.label, False)


def test_a_scene_depends_on_each_argument_alone():
    first = draw_scene(0, 'train', 4, 48)
    again = draw_scene(0, 'train', 4, 48)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.label_map, again.label_map)
    for other in (draw_scene(1, 'train', 4, 48), draw_scene(0, 'val', 4, 48), draw_scene(0, 'train', 12, 48)):
        assert not np.array_equal(first.image, other.image)
        assert not np.array_equal(first.label_map, other.label_map)


def test_masks_lie_where_the_shapes_are_painted():
    """A shape painted white on black is bright inside its mask and dark outside."""
    for label in range(len(CLASSES)):
        one = Shape(label, np.array([40.3, 37.8]), 25.0, 0.7)
        canvas = np.zeros((80, 80, 3), dtype=np.float32)
        white = np.ones(3, dtype=np.float32)
        paint_shape(canvas, one, TEXTURES[0], (white, white), 7.0)
        mask = rasterise([one.outline()], 80)
        painted = canvas[..., 0] > 0.5
        assert (painted & mask).sum() / (painted | mask).sum() > 0.94, CLASSES[label]


def test_classes_differ_in_outline():
    """No class, turned and scaled to the same area, covers another."""

    def mask(name, angle):
        outline = OUTLINES[name]
        x, y = outline.T
        area = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return rasterise([(outline - outline.mean(axis=0)) @ turn * 20 / np.sqrt(area) + 32], 64)

    for first, second in itertools.combinations(CLASSES, 2):
        still = mask(first, 0)
        for angle in np.arange(0, 2 * np.pi, np.pi / 12):
            turned = mask(second, angle)
            assert (still & turned).sum() / (still | turned).sum() < 0.87, (first, second)


def test_colour_does_not_give_the_class_away():
    """The nearest class mean of the largest object's mean colour is right hardly more often than by chance."""

    def mean_colours(split, count):
        scenes = [draw_scene(0, split, index, 48) for index in range(count)]
        largest = [max(scene.objects, key=lambda thing: thing.area) for scene in scenes]
        return np.array([s.image[o.mask].mean(axis=0) for s, o in zip(scenes, largest, strict=True)])

    train, val = mean_colours('train', 320), mean_colours('val', 160)
    centres = np.stack([train[label :: len(CLASSES)].mean(axis=0) for label in range(len(CLASSES))])
    guesses = np.linalg.norm(val[:, None] - centres, axis=2).argmin(axis=1)
    chance = 1 / len(CLASSES)
    assert np.mean(guesses == np.arange(160) % len(CLASSES)) < chance + 4 * np.sqrt(chance * (1 - chance) / 160)


@pytest.mark.parametrize(
    ('arguments', 'field'),
    [
        ((-1, 'train', 0, 64), 'seed'),
        ((0, 'test', 0, 64), 'split'),
        ((0, 'train', -1, 64), 'index'),
        ((0, 'train', 0, 31), 'size'),
        ((0, 'train', 0, 64.0), 'size'),
    ],
)
def test_draw_scene_names_a_wrong_argument(arguments, field):
    with pytest.raises(ValueError, match=f'^{field}: got .*, allowed: '):
        draw_scene(*arguments)


# The written data set


def test_layouts_show_the_same_scenes(demo, split):
    folders = (demo / 'imagenet' / split, demo / f'coco/{split}2017', demo / 'ade/images' / ADE_SPLITS[split])
    by_layout = [{path.name: path.read_bytes() for path in folder.rglob('*.jpg')} for folder in folders]
    assert len(by_layout[0]) == COUNTS[split]
    assert by_layout[0].keys() == by_layout[1].keys()
    assert by_layout[1] == by_layout[2]
    maps = {path.stem for path in (demo / 'ade/annotations' / ADE_SPLITS[split]).iterdir()}
    assert maps == {Path(name).stem for name in by_layout[0]}


def test_images_are_the_scenes(demo):
    for index in range(5):
        scene = draw_scene(3, 'val', index, SIZE)
        image = cv2.imread(str(demo / f'coco/val2017/val_{index:06d}.jpg'))[..., ::-1]
        brightness = image.mean(axis=2).ravel(), scene.image.mean(axis=2).ravel()
        assert np.corrcoef(*brightness)[0, 1] > 0.95
        assert np.abs(image.mean(axis=(0, 1)) - scene.image.mean(axis=(0, 1))).max() < 3
        np.testing.assert_array_equal(read_map(demo, 'val', f'val_{index:06d}.jpg'), scene.label_map)


def test_portraits_show_the_whole_largest_object(demo):
    for index in range(20):
        scene = draw_scene(3, 'val', index, SIZE)
        largest = max(scene.objects, key=lambda thing: thing.area)
        area = largest.area / SIZE**2
        marked = np.where(largest.mask[..., None], np.uint8(255), np.zeros_like(scene.image))
        portrait = dataclasses.replace(scene, image=marked).portrait
        assert portrait.shape == (SIZE, SIZE, 3)
        side = min(round(1.4 * max(largest.box[2:])), SIZE)
        assert (portrait > 127).mean() == pytest.approx(area * SIZE**2 / side**2, rel=0.1)


def test_imagenet_folders_are_numbered_like_the_classes(demo, split):
    folders = sorted(path.name for path in (demo / 'imagenet' / split).iterdir())
    assert tuple(folders) == CLASSES
    counts = [len(list((demo / 'imagenet' / split / name).iterdir())) for name in CLASSES]
    assert max(counts) - min(counts) <= 1


def test_imagenet_class_is_that_of_the_largest_object(demo, split, coco):
    for path in (demo / 'imagenet' / split).rglob('*.jpg'):
        image_id = next(i for i, image in coco.imgs.items() if image['file_name'] == path.name)
        largest = max(coco.imgToAnns[image_id], key=lambda annotation: annotation['area'])
        assert coco.cats[largest['category_id']]['name'] == path.parent.name


def test_coco_annotations_cover_the_label_maps_to_the_pixel(demo, split, coco):
    assert tuple(category['name'] for category in coco.loadCats(coco.getCatIds())) == CLASSES
    assert len(coco.imgs) == COUNTS[split]
    for image_id, image in coco.imgs.items():
        label_map = read_map(demo, split, image['file_name'])
        assert label_map.shape == (image['height'], image['width']) == (SIZE, SIZE)
        drawn = np.minimum(label_map, 1)
        for annotation in coco.imgToAnns[image_id]:
            mask = coco.annToMask(annotation).astype(bool)
            drawn[mask] = annotation['category_id'] + 1
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert annotation['bbox'] == box
            assert annotation['area'] == mask.sum()
        np.testing.assert_array_equal(drawn, label_map)


def test_coco_has_polygons_of_what_is_in_sight_and_run_lengths_of_the_rest(coco, split):
    annotations = list(coco.anns.values())
    polygons = [a for a in annotations if isinstance(a['segmentation'], list)]
    crowds = [a for a in annotations if a['iscrowd']]
    assert min(coco.anns) == 1
    assert 0 < len(polygons) < len(annotations)
    assert not any(a['iscrowd'] for a in polygons)
    assert all(0 <= value <= SIZE for a in polygons for value in a['segmentation'][0])
    if split == 'train':
        assert 0 < len(crowds) < len(annotations) / 4


def test_ade_labels_stay_in_range_when_zero_is_reduced_to_ignored(demo):
    """As MMSegmentation reduces them: 0 becomes 255, the others count from 0."""
    seen = set()
    for path in (demo / 'ade/annotations/training').iterdir():
        seen |= set((cv2.imread(str(path), cv2.IMREAD_UNCHANGED) - np.uint8(1)).ravel().tolist())
    assert seen == {255, *range(len(SEGMENTATION_CLASSES))}


def test_a_scene_does_not_depend_on_how_many_there_are(demo, tmp_path):
    make_demo_data(tmp_path, 3, 2, SIZE, seed=3)
    many, few = files(demo), files(tmp_path)
    drawn = {name: content for name, content in few.items() if name.suffix not in ('.json', '.txt')}
    assert len(drawn) == (3 + 2) * 4
    assert drawn.items() <= many.items()


# Writing again


def test_a_finished_set_is_left_alone(tmp_path):
    assert make_demo_data(tmp_path, 2, 1, 32, 0)
    image = tmp_path / 'coco/train2017/train_000000.jpg'
    image.write_bytes(b'mine')
    assert not make_demo_data(tmp_path, 2, 1, 32, 0)
    assert image.read_bytes() == b'mine'


@pytest.mark.parametrize('field', ['num_train', 'num_val', 'size', 'seed'])
def test_other_settings_are_refused_by_name(tmp_path, field):
    arguments = {'num_train': 2, 'num_val': 1, 'size': 32, 'seed': 0}
    make_demo_data(tmp_path, **arguments)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=rf'with {field} \d+ \(asked for 40\);'):
        make_demo_data(tmp_path, **{**arguments, field: 40})
    assert files(tmp_path) == before


def test_a_set_drawn_by_another_version_is_refused(tmp_path, monkeypatch):
    make_demo_data(tmp_path, 1, 1, 32, 0)
    monkeypatch.setattr(demo_data, 'DRAWING_VERSION', demo_data.DRAWING_VERSION + 1)
    with pytest.raises(ValueError, match='drawing_version'):
        make_demo_data(tmp_path, 1, 1, 32, 0)


def test_an_unfinished_set_is_written_anew(tmp_path, monkeypatch):
    def killed(seed, split, index, size):
        if split == 'val':
            raise KeyboardInterrupt
        return draw_scene(seed, split, index, size)

    out, straight = tmp_path / 'out', tmp_path / 'straight'
    with monkeypatch.context() as patch:
        patch.setattr(demo_data, 'draw_scene', killed)
        with pytest.raises(KeyboardInterrupt):
            make_demo_data(out, 9, 1, 32, 0)
    assert (out / 'coco/train2017/train_000008.jpg').is_file()
    assert make_demo_data(out, 2, 1, 32, 0)
    make_demo_data(straight, 2, 1, 32, 0)
    assert files(out) == files(straight)


def test_folders_of_others_are_not_touched(tmp_path):
    precious = tmp_path / 'coco/annotations/instances_train2017.json'
    precious.parent.mkdir(parents=True)
    precious.write_text('precious')
    with pytest.raises(ValueError, match='holds other files'):
        make_demo_data(tmp_path, 1, 1, 32, 0)
    assert precious.read_text() == 'precious'
    with pytest.raises(ValueError, match='is not a folder'):
        make_demo_data(precious, 1, 1, 32, 0)


def test_nothing_is_written_through_a_link_that_looks_like_an_unfinished_set(tmp_path):
    (tmp_path / 'mine').write_text('keep')
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/settings.unfinished.json').symlink_to(tmp_path / 'mine')
    with pytest.raises(ValueError, match='holds other files'):
        make_demo_data(tmp_path / 'data', num_train=1, num_val=1, size=32)
    assert (tmp_path / 'mine').read_text() == 'keep'


def test_unreadable_settings_are_an_error(tmp_path):
    (tmp_path / 'settings.json').write_text('[1')
    with pytest.raises(ValueError, match='no settings of a demo data set'):
        make_demo_data(tmp_path, 1, 1, 32, 0)


# The tool


@pytest.fixture
def tool(monkeypatch):
    def run(*arguments):
        spec = importlib.util.spec_from_file_location('make_demo_data_tool', TOOL)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(os.fspath, arguments)])
        module.main()

    return run


def test_tool_writes_what_its_options_say(tool, tmp_path, capsys):
    options = ('--num-train', '2', '--num-val', '1', '--size', '40', '--seed', '7')
    tool(tmp_path, *options)
    tool(tmp_path, *options)
    assert capsys.readouterr().out == f'{tmp_path}: written\n{tmp_path}: already complete\n'
    found = json.loads((tmp_path / 'settings.json').read_text())
    assert (found['num_train'], found['num_val'], found['size'], found['seed']) == (2, 1, 40, 7)


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        (('--num-train', '0'), 'num_train: got 0'),
        (('--num-val', '-3'), 'num_val: got -3'),
        (('--size', '8'), 'size: got 8'),
        (('--seed', '-1'), 'seed: got -1'),
    ],
)
def test_tool_ends_with_one_sentence_on_a_wrong_value(tool, tmp_path, capsys, options, named):
    with pytest.raises(SystemExit) as stopped:
        tool(tmp_path / 'out', *options)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_tool_shows_no_megabytes_and_no_control_characters(tool, tmp_path, capsys):
    (tmp_path / 'settings.json').write_text(json.dumps({'size': '\x1b[2J' + 10**6 * 'x'}))
    with pytest.raises(SystemExit):
        tool(tmp_path)
    told = capsys.readouterr().err
    assert len(told) < 3000
    assert told.removesuffix('\n').isprintable()


def test_tool_refuses_words_for_numbers_and_files_for_folders(tool, tmp_path, capsys):
    for arguments in ((tmp_path / 'out', '--size', 'large'), (TOOL,), (TOOL / 'below',)):
        with pytest.raises(SystemExit) as stopped:
            tool(*arguments)
        assert stopped.value.code == 2
    assert not (tmp_path / 'out').exists()
