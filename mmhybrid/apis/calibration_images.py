"""Images that give an int8 network its activation ranges.

They are training images in the test pipeline, and none of them is in the test set.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from torch import Tensor, cat
from torch.nn import functional as F
from torch.utils.data import Dataset

from mmhybrid.engine.search_origin import check_disjoint
from mmhybrid.utils.checks import bad_value, check_int

SEED = 0
# Default number of images; all images are used if there are fewer.
USUAL = 128


class Chosen(Dataset):
    """A subset of a data set."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        """Return an image after the pipeline."""
        return self.dataset[self.indices[place]]

    def get_data_info(self, place: int) -> Any:
        """Return the information on an image, without its pixels."""
        return self.dataset.get_data_info(self.indices[place])


def calibration_images(cfg: Config, model: Any, num_images: int | None, shape: Sequence[int]) -> Tensor:
    """Return random images of ``train_dataloader`` as the network takes them (N, C, H, W).

    They go through the pipeline of ``test_dataloader`` and the model's data preprocessor. Images whose size then
    differs from ``shape``, as those of a detector do, are resized at the end.

    Args:
        cfg: Config of the network.
        model: Model with its data preprocessor.
        num_images: Number of images; None for :data:`USUAL`.
        shape: Height and width.

    Raises:
        ValueError: If the config has no such data, there are too few images, or some are in the test set.
    """
    for name in ('train_dataloader', 'test_dataloader'):
        if not (cfg.get(name) or {}).get('dataset'):
            raise ValueError(f'dtype int8: the config has no {name}, from which calibration images are taken')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        pipeline = _plain(cfg.test_dataloader.dataset)[0].get('pipeline')
        datasets = [DATASETS.build(dict(each, pipeline=pipeline)) for each in _plain(cfg.train_dataloader.dataset)]
        places = [(each, index) for each in datasets for index in range(len(each))]
        num_images = min(USUAL, len(places)) if num_images is None else num_images
        check_int('calibration images', num_images, 1, len(places))
        drawn = random.Random(SEED).sample(places, num_images)
        chosen = [Chosen(each, [index for other, index in drawn if other is each]) for each in datasets]
        seen: dict[str, Dataset] = {f'train_dataloader ({place})': each for place, each in enumerate(chosen)}
        check_disjoint(seen, cfg.test_dataloader, 'a calibration')
        return cat([_prepared(model, each[place], shape) for each in chosen for place in range(len(each))])


def _plain(dataset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the data sets within wrappers that wrap, repeat, join or mix them."""
    if 'dataset' in dataset:
        return _plain(dataset['dataset'])
    if 'datasets' in dataset:
        return [plain for each in dataset['datasets'] for plain in _plain(each)]
    return [dataset]


def _prepared(model: Any, sample: Any, shape: Sequence[int]) -> Tensor:
    """Return a sample as the network takes it (1, C, H, W)."""
    images = model.data_preprocessor(pseudo_collate([sample]), False)['inputs']
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise bad_value('calibration images', type(images).__name__, 'a tensor (B, C, H, W) from the data preprocessor')
    if tuple(images.shape[2:]) != tuple(shape):
        images = F.interpolate(images, tuple(shape), mode='bilinear', align_corners=False)
    return images
