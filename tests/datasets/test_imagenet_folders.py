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
    inferencer = ImageClassificationInferencer(name, pretrained=False)
    [found] = inferencer(image)
    assert found['pred_class'] == IMAGENET_CATEGORIES[found['pred_label']]


@pytest.mark.parametrize(('folders', 'form'), [(3, 'n{:08d}'), (1000, 'n{:08d}'), (1000, 'my {:08d}')])
def test_only_all_of_imagenet_has_the_names_of_its_classes(folders: int, form: str, tmp_path: Path) -> None:
    names = [form.format(index) for index in range(folders)]
    for name in names:
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / 'a.png'), np.zeros((2, 2, 3), np.uint8))
    dataset = DATASETS.build({'type': 'mmhybrid.ImageNetFolders', 'data_root': str(tmp_path)})
    assert [dataset.get_data_info(index)['gt_label'] for index in range(folders)] == list(range(folders))
    is_imagenet = folders == 1000 and form.startswith('n')
    assert tuple(dataset.metainfo['classes']) == tuple(IMAGENET_CATEGORIES if is_imagenet else names)


@pytest.mark.parametrize(
    ('folder', 'label', 'is_named'), [('n01440764', 3, True), ('n01440764', 1000, False), ('own', 3, False)]
)
def test_images_of_an_annotation_file_are_named_if_they_are_of_imagenet(
    folder: str, label: int, is_named: bool, tmp_path: Path
) -> None:
    (tmp_path / 'some.txt').write_text(f'{folder}/a.png {label}\n')
    dataset = DATASETS.build({'type': 'mmhybrid.ImageNetFolders', 'data_root': str(tmp_path), 'ann_file': 'some.txt'})
    assert dataset.metainfo.get('classes') == (IMAGENET_CATEGORIES if is_named else None)
