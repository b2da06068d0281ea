"""ImageNet, or some of its classes, in folders by class."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmpretrain.datasets.custom import find_folders

from mmhybrid.registry import DATASETS


@DATASETS.register_module()
class ImageNetFolders(CustomDataset):
    """MMPretrain's ``CustomDataset`` with ImageNet's class names, which are stored in checkpoints of classifiers.

    MMPretrain's own ``ImageNet`` refuses a folder that has not exactly 1000 classes. Here, other folders than
    ImageNet's 1000 synsets give the class names, so that a recipe runs unchanged on a subset (Imagenette). Images of an
    annotation file have no class names if they are not in such folders or their labels are not ImageNet's.
    """

    METAINFO = {'classes': IMAGENET_CATEGORIES}

    def _find_samples(self) -> list[Any]:
        folders = find_folders(self.img_prefix)[0]
        if not (_are_synsets(folders) and len(folders) == len(IMAGENET_CATEGORIES)):
            self._drop_names()
        samples: list[Any] = super()._find_samples()
        return samples

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return images and labels of the annotation file, or of the folders."""
        samples: list[dict[str, Any]] = super().load_data_list()
        if self.ann_file:
            folders = {Path(sample['img_path']).parent.name for sample in samples}
            labels = {sample.get('gt_label', 0) for sample in samples}
            is_imagenet = max(labels, default=0) < len(IMAGENET_CATEGORIES) and (
                _are_synsets(folders) or len(labels) == len(IMAGENET_CATEGORIES)
            )
            if not is_imagenet:
                self._drop_names()
        return samples

    def _drop_names(self) -> None:
        """Remove the class names, unless they are a user's own (``metainfo``)."""
        if self.CLASSES is not None and list(self.CLASSES) == list(IMAGENET_CATEGORIES):
            del self._metainfo['classes']


def _are_synsets(folders: Iterable[str]) -> bool:
    return all(re.fullmatch(r'n\d{8}', folder) for folder in folders)
