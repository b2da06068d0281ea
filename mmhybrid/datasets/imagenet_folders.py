"""ImageNet in folders, one a class, or some of its classes."""

from typing import Any

from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmpretrain.datasets.custom import find_folders

from mmhybrid.registry import DATASETS


@DATASETS.register_module()
class ImageNetFolders(CustomDataset):
    """MMPretrain's ``CustomDataset`` that knows ImageNet's class names, which classifiers of this data set then carry.

    MMPretrain's own ``ImageNet`` refuses a folder with other than 1000 classes. Here such a folder has the names of its
    folders as class names, so that a recipe runs on a subset (Imagenette) as it stands.
    """

    METAINFO = {'classes': IMAGENET_CATEGORIES}

    def _find_samples(self) -> list[Any]:
        if self.CLASSES is not None and len(find_folders(self.img_prefix)[0]) != len(self.CLASSES):
            del self._metainfo['classes']
        samples: list[Any] = super()._find_samples()
        return samples
