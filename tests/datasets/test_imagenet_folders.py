"""Class names of ImageNet's classifiers, as MMPretrain's users read them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmpretrain import ImageClassificationInferencer
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmpretrain.registry import DATASETS

import mmhybrid  # noqa: F401  registers the names


@pytest.mark.parametrize('name', ['glnet-4g_in1k', 'autovit-xxs_in1k'])
def test_named_models_name_the_class_of_an_image(name: str) -> None:
    image = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)
    inferencer = ImageClassificationInferencer(name)
    [found] = inferencer(image)
    assert found['pred_class'] == IMAGENET_CATEGORIES[found['pred_label']]


@pytest.mark.parametrize('folders', [3, 1000])
def test_a_part_of_imagenet_has_the_names_of_its_folders(folders: int, tmp_path: Path) -> None:
    names = [f'n{index:08d}' for index in range(folders)]
    for name in names:
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / 'a.png'), np.zeros((2, 2, 3), np.uint8))
    dataset = DATASETS.build({'type': 'mmhybrid.ImageNetFolders', 'data_root': str(tmp_path)})
    assert [dataset.get_data_info(index)['gt_label'] for index in range(folders)] == list(range(folders))
    assert tuple(dataset.metainfo['classes']) == (tuple(names) if folders == 3 else tuple(IMAGENET_CATEGORIES))
