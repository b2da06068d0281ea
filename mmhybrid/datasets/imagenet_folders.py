"""ImageNet in folders, one a class, or some of its classes."""

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
    """MMPretrain's ``CustomDataset`` that knows ImageNet's class names, which classifiers of this data set then carry.

    MMPretrain's own ``ImageNet`` refuses a folder with other than 1000 classes. Here other folders than ImageNet's 1000
    synsets have their own names as class names, so that a recipe runs on a subset (Imagenette) as it stands; and
    images of an annotation file have none if they do not lie in such folders, or their labels are not ImageNet's.
    """

    METAINFO = {'classes': IMAGENET_CATEGORIES}

    def _find_samples(self) -> list[Any]:
        folders = find_folders(self.img_prefix)[0]
        if not (_are_synsets(folders) and len(folders) == len(IMAGENET_CATEGORIES)):
            self._drop_names()
        samples: list[Any] = super()._find_samples()
        return samples

    def load_data_list(self) -> list[dict[str, Any]]:
        """Images and labels of the annotation file, or of the folders."""
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
        """Leave the class names open, unless they are a user's own (``metainfo``)."""
        if self.CLASSES is not None and list(self.CLASSES) == list(IMAGENET_CATEGORIES):
            del self._metainfo['classes']


def _are_synsets(folders: Iterable[str]) -> bool:
    return all(re.fullmatch(r'n\d{8}', folder) for folder in folders)
