"""The command line of tools/make_label_maps.py; the maps themselves are tests/datasets'."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

import mmhybrid  # noqa: F401  registers the backbone's scope
from mmhybrid.datasets.label_maps import read_label_map

TOOL = Path(__file__).parents[2] / 'tools' / 'make_label_maps.py'
MODEL = {
    'type': 'ImageClassifier',
    'backbone': {'type': 'mmhybrid.AutoViT', 'arch': 'xxs'},
    'neck': {'type': 'GlobalAveragePooling'},
    'head': {'type': 'LinearClsHead', 'num_classes': 6, 'in_channels': 480},
}


@pytest.fixture
def main():
    return runpy.run_path(str(TOOL))['main']


@pytest.fixture
def teacher(tmp_path):
    (tmp_path / 'teacher.py').write_text(f'model = {MODEL}')
    torch.save(MODELS.build({**MODEL, '_scope_': 'mmpretrain'}).state_dict(), tmp_path / 'teacher.pth')
    return [str(tmp_path / 'teacher.py'), str(tmp_path / 'teacher.pth')]


def test_writes_a_map_an_image_and_goes_on(main, teacher, tmp_path, capsys):
    folder = tmp_path / 'train/n01'
    folder.mkdir(parents=True)
    for i in range(3):
        cv2.imwrite(str(folder / f'{i}.JPEG'), np.full((40, 50, 3), 40 * i, np.uint8))
    args = [*teacher, str(tmp_path / 'train'), str(tmp_path / 'maps'), '--size', '64', '--batch-size', '2']
    main(args)
    assert capsys.readouterr().out.endswith('3 label maps\n')
    assert [read_label_map(tmp_path / f'maps/n01/{i}.pt').shape for i in range(3)] == [(2, 5, 2, 2)] * 3
    main(args)
    assert capsys.readouterr().out.endswith('0 label maps\n')


def test_settings_that_replace_the_config_s(main, tmp_path, capsys):
    """A vision transformer, whose config gives no map."""
    vit = {'type': 'VisionTransformer', 'arch': 'deit-tiny', 'img_size': 32, 'patch_size': 16}
    head = {'type': 'VisionTransformerClsHead', 'num_classes': 6, 'in_channels': 192}
    model = {'type': 'ImageClassifier', 'backbone': vit, 'head': head}
    (tmp_path / 'vit.py').write_text(f'model = {model}')
    torch.save(MODELS.build({**model, '_scope_': 'mmpretrain'}).state_dict(), tmp_path / 'vit.pth')
    (tmp_path / 'train/n01').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'train/n01/0.png'), np.zeros((40, 50, 3), np.uint8))
    args = [str(tmp_path / name) for name in ('vit.py', 'vit.pth', 'train', 'maps')] + ['--size', '32']
    with pytest.raises(SystemExit):
        main(args)
    assert 'featmap' in capsys.readouterr().err
    main([*args, '--cfg-options', 'model.backbone.out_type=featmap'])
    assert read_label_map(tmp_path / 'maps/n01/0.pt').shape == (2, 5, 2, 2)


def test_one_sentence_for_a_mistake(main, teacher, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    for args in ([teacher[0], 'none.pth', str(tmp_path / 'empty')], [*teacher, str(tmp_path / 'empty')]):
        with pytest.raises(SystemExit) as ended:
            main([*args, str(tmp_path / 'maps')])
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
