"""Images of a training set held out for a search: disjoint, together the whole, and the same each time."""

import json
import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope

from mmhybrid.commands.split_coco import main as split_coco_main
from mmhybrid.commands.split_segmentation import main as split_segmentation_main
from mmhybrid.datasets.coco_annotations import check_annotations
from mmhybrid.datasets.search_split import split_coco, split_segmentation
from mmhybrid.engine.search_origin import check_disjoint

NUM_IMAGES = 20


def coco(order: list[int]) -> dict[str, Any]:
    """Images in an order, the i-th of which has i % 3 boxes."""
    images = [{'id': 100 + i, 'file_name': f'{i:03}.jpg', 'height': 40, 'width': 60} for i in order]
    boxes = [(100 + i, place) for i in order for place in range(i % 3)]
    entries = [
        {'id': n, 'image_id': image, 'category_id': 1, 'bbox': [place, 2, 10, 12], 'area': 120, 'iscrowd': 0}
        for n, (image, place) in enumerate(boxes)
    ]
    return {'info': {'year': 2017}, 'images': images, 'annotations': entries, 'categories': [{'id': 1, 'name': 'cat'}]}


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    path = tmp_path / 'train.json'
    path.write_text(json.dumps(coco(list(range(NUM_IMAGES)))))
    return path


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f'{name}.json').read_text()) for name in ('search_train', 'search_val')]


def names(content: dict[str, Any]) -> set[str]:
    return {image['file_name'] for image in content['images']}


def test_coco_is_split_into_two_whole_files(annotations: Path, tmp_path: Path) -> None:
    counts = split_coco(annotations, tmp_path / 'out', 6, 0)
    train, val = read(tmp_path / 'out')
    assert counts == {'search_train.json': 14, 'search_val.json': 6}
    assert not names(train) & names(val)
    whole = json.loads(annotations.read_text())
    for part in (train, val):
        assert (part['info'], part['categories']) == (whole['info'], whole['categories'])
        ids = {image['id'] for image in part['images']}
        assert part['annotations'] == [entry for entry in whole['annotations'] if entry['image_id'] in ids]
    assert sorted(train['images'] + val['images'], key=lambda image: image['id']) == whole['images']
    for name in counts:
        check_annotations(tmp_path / 'out' / name)


def test_the_choice_follows_from_names_and_seed(annotations: Path, tmp_path: Path) -> None:
    split_coco(annotations, tmp_path / 'a', 6, 0)
    order = list(range(NUM_IMAGES))
    random.Random(1).shuffle(order)
    annotations.write_text(json.dumps(coco(order)))
    split_coco(annotations, tmp_path / 'b', 6, 0)
    split_coco(annotations, tmp_path / 'c', 6, 1)
    first, again, other = (names(read(tmp_path / name)[1]) for name in 'abc')
    assert first == again != other


def test_entries_of_one_image_file_stay_together(annotations: Path, tmp_path: Path) -> None:
    """Some tools write an image twice, and a path in two ways; on both sides it would be seen in training."""
    content = coco(list(range(4)))
    content['images'] += [
        {**image, 'id': 1000 + image['id'], 'file_name': f'./{image["file_name"]}'} for image in content['images']
    ]
    annotations.write_text(json.dumps(content))
    assert split_coco(annotations, tmp_path, 2, 0) == {'search_train.json': 4, 'search_val.json': 4}
    train, val = ({name.removeprefix('./') for name in names(part)} for part in read(tmp_path))
    assert len(train) == len(val) == 2
    assert not train & val


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Images in folders within a folder, and their maps."""
    images, maps = tmp_path / 'images', tmp_path / 'maps'
    for i in range(NUM_IMAGES):
        for folder, suffix in ((images, '.jpg'), (maps, '_map.png')):
            path = folder / f'town {i % 2}' / f'{i:03}{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((8, 8, 3) if folder == images else (8, 8), i, np.uint8))
    return images, maps


def test_folders_are_split_into_two_lists(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        counts = split_segmentation(*folders, tmp_path / name, 6, seed, '.jpg', '_map.png')
        assert counts == {'search_train.txt': 14, 'search_val.txt': 6}
    lists = {name: [(tmp_path / name / f).read_text().splitlines() for f in counts] for name in 'abc'}
    assert lists['a'] == lists['b'] != lists['c']
    train, val = lists['a']
    assert sorted(train + val) == sorted(f'town {i % 2}/{i:03}' for i in range(NUM_IMAGES))


def detection(folder: Path, file: str, images: Path) -> Any:
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(
            {
                'type': 'CocoDataset',
                'ann_file': str(folder / file),
                'data_prefix': {'img': str(images)},
                'metainfo': {'classes': ('cat',)},
                'test_mode': True,
            }
        )


def segmentation(folder: Path, file: str, images: Path) -> Any:
    prefix = {'img_path': str(images), 'seg_map_path': str(images.with_name('maps'))}
    config = {'type': 'BaseSegDataset', 'seg_map_suffix': '_map.png', 'ann_file': str(folder / file)}
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build({**config, 'data_prefix': prefix, 'metainfo': {'classes': ('cat', 'dog')}})


@pytest.mark.parametrize('build', [detection, segmentation])
def test_the_guard_against_the_test_set_works_for_them(
    build: Any, annotations: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    import mmdet.datasets  # noqa: F401
    import mmseg.datasets  # noqa: F401

    out, end = tmp_path / 'out', 'json' if build is detection else 'txt'
    if build is detection:
        split_coco(annotations, out, 6, 0)
    else:
        split_segmentation(*folders, out, 6, 0, '.jpg', '_map.png')
    train, val = (build(out, f'search_{part}.{end}', folders[0]) for part in ('train', 'val'))
    assert (len(train), len(val)) == (14, 6)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr('mmhybrid.engine.search_origin.DATASETS.build', lambda dataset: dataset['built'])
        check_disjoint({'val_dataloader': val}, {'dataset': {'built': train}})
        with pytest.raises(ValueError, match=r'val_dataloader: 6 of its images are in the test set too.*split_coco'):
            check_disjoint({'val_dataloader': val}, {'dataset': {'built': val}})


def told(main: Any, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_mistakes_end_with_one_sentence(
    annotations: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    split_coco_main([str(annotations), str(out), '--num-held-out', '5'])
    assert capsys.readouterr().out.splitlines() == [
        f'{out}/search_train.json: 15 images',
        f'{out}/search_val.json: 5 images',
        "classes = ('cat',)",
    ]
    assert 'num_held_out: got 20, allowed: an int from 1 to 19' in told(
        split_coco_main, capsys, annotations, out, '--num-held-out', 20
    )
    assert 'does not exist' in told(split_coco_main, capsys, tmp_path / 'none.json', out)
    annotations.write_text(json.dumps(coco([0])))
    assert 'images: got' in (said := told(split_coco_main, capsys, annotations, out))
    assert 'allowed: two at least' in said
    content = coco([0, 1])
    content['annotations'][0]['image_id'] = 7
    annotations.write_text(json.dumps(content))
    assert 'annotations[0].image_id: got 7' in told(split_coco_main, capsys, annotations, out, '--num-held-out', 1)
    images, maps = folders
    assert '000.png of the image town 0/000.jpg does not exist' in told(split_segmentation_main, capsys, *folders, out)
    assert 'images: got' in told(split_segmentation_main, capsys, tmp_path / 'none', maps, out)
    for suffix in ('.bmp', '*.jpg', '[a].jpg'):
        said = told(split_segmentation_main, capsys, *folders, out, '--image-suffix', suffix)
        assert f'whose names end in {suffix}' in said
    (images / ' 1.jpg').touch()
    (maps / ' 1.png').touch()
    assert 'without a space at either end' in told(
        split_segmentation_main, capsys, *folders, out, '--map-suffix', '.png'
    )
