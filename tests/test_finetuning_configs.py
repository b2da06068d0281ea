"""The fine-tuning recipes read their data sets as these are published; generated files take the place of the images."""

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import mat4py
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from mmhybrid.apis.configs import load_config

ROOT = Path(__file__).resolve().parents[1]


def write_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((40, 60, 3), 128, np.uint8))


def write_flowers(root: Path) -> None:
    write_images(root / 'jpg', [f'image_{i:05d}.jpg' for i in range(1, 6)])
    mat4py.savemat(str(root / 'imagelabels.mat'), {'labels': [7, 102, 1, 3, 50]})
    mat4py.savemat(str(root / 'setid.mat'), {'trnid': [2, 3], 'valid': [5, 1], 'tstid': [4, 1]})


def write_cars(root: Path) -> None:
    names = [f'{i:06d}.jpg' for i in range(1, 6)]
    write_images(root / 'car_ims', names)
    paths = [f'car_ims/{name}' for name in names]
    annotations = {'relative_im_path': paths, 'class': [196, 1, 3, 4, 5], 'test': [0, 0, 0, 1, 1]}
    mat4py.savemat(str(root / 'cars_annos.mat'), {'annotations': annotations})


def write_cifar(folder: Path, batches: dict[str, list[int]], key: str) -> None:
    folder.mkdir(parents=True)
    for name, labels in batches.items():
        data = {'data': np.zeros((len(labels), 3 * 32 * 32), np.uint8), key: labels}
        (folder / name).write_bytes(pickle.dumps(data))


def write_cifar10(root: Path) -> None:
    batches = {f'data_batch_{i}': [i] for i in range(1, 6)} | {'test_batch': [9, 0]}
    write_cifar(root / 'cifar-10-batches-py', batches, 'labels')


def write_cifar100(root: Path) -> None:
    write_cifar(root / 'cifar-100-python', {'train': [99, 2, 1], 'test': [0, 50]}, 'fine_labels')


@pytest.mark.parametrize(
    ('name', 'write', 'train_labels', 'test_labels', 'num_classes'),
    [
        ('flowers', write_flowers, [101, 0, 49, 6], [2, 6], 102),
        ('cars', write_cars, [195, 0, 2], [3, 4], 196),
        ('cifar10', write_cifar10, [1, 2, 3, 4, 5], [9, 0], 10),
        ('cifar100', write_cifar100, [99, 2, 1], [0, 50], 100),
    ],
)
def test_data_sets(
    name: str,
    write: Callable[[Path], None],
    train_labels: list[int],
    test_labels: list[int],
    num_classes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmpretrain.registry import DATASETS

    monkeypatch.setattr('mmpretrain.datasets.cifar.check_md5', lambda *_, **__: True)
    write(tmp_path / 'data')
    for other in ('glnet/glnet_4g', 'glit/glit_tiny'):  # on the same images
        assert load_config(str(ROOT / f'configs/{other}_{name}.py')).model.head.num_classes == num_classes
    cfg = load_config(str(ROOT / f'configs/autovit/autovit_s_{name}.py'))
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == num_classes
    for split, labels in (('train', train_labels), ('val', test_labels), ('test', test_labels)):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            dataset = DATASETS.build({**cfg[f'{split}_dataloader'].dataset, 'data_root': str(tmp_path / 'data')})
        assert list(dataset.get_gt_labels()) == labels
        assert dataset[0]['inputs'].shape == (3, 256, 256)


def test_position_embedding_is_resized_for_384_px() -> None:
    from mmhybrid.registry import MODELS

    cfgs = [load_config(str(ROOT / f'configs/glit/glit_tiny_{name}in1k.py')) for name in ('', '384px_')]
    small, large = (MODELS.build(cfg.model.backbone) for cfg in cfgs)
    assert (small.pos_embed.shape[1], large.pos_embed.shape[1]) == (1 + 14**2, 1 + 24**2)
    large.load_state_dict(small.state_dict())
    assert large.pos_embed.shape[1] == 1 + 24**2
