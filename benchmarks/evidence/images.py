"""A data set whose images are decoded once and stay in memory, and of which each seed holds out others."""

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from mmhybrid.utils.checks import bad_value, check_choice, check_int

PARTS = ('train', 'held_out')
SUFFIXES = ('.jpg', '.jpeg', '.JPEG', '.png')


@DATASETS.register_module(force=True)  # a process that imports this file anew gets no error
class SplitImages(BaseDataset):
    """Photographs in one folder for each class, kept in memory and split anew by each seed.

    The images of a class from all ``folders`` are shuffled with the seed of the split, and the first ones are held out.
    So the spread over seeds covers the choice of training and test images too.

    Args:
        data_root: Folder of the images.
        part: ``train`` or ``held_out``.
        split: Seed of the split.
        held_out: Number of images of each class that are held out.
        short_side: Length in pixels to which the shorter side is resized when an image is decoded.
        folders: Folders in ``data_root`` that have a folder for each class.
        pipeline: Transforms, as BaseDataset takes them; ``img`` is there already.
        indices: Images to take, as BaseDataset takes them.

    Raises:
        ValueError: If there are no images, or too few of a class.
    """

    def __init__(
        self,
        data_root: str,
        part: str,
        split: int,
        held_out: int,
        short_side: int,
        folders: Sequence[str] = ('train', 'val'),
        pipeline: Sequence[Mapping[str, Any]] = (),
        indices: int | Sequence[int] | None = None,
    ) -> None:
        self.part = check_choice('part', part, PARTS)
        self.split = check_int('split', split, 0)
        self.held_out = check_int('held_out', held_out, 1)
        self.short_side = check_int('short_side', short_side, 1)
        self.folders = tuple(folders)
        # without serialization, BaseDataset hands out copies, which transforms may write into
        super().__init__(data_root=data_root, pipeline=list(pipeline), indices=indices, serialize_data=False)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The images of the part and their labels."""
        images = decoded(self.data_root, self.folders, self.short_side)
        self._metainfo['classes'] = tuple(images)
        rng, infos = random.Random(self.split), []
        for label, (name, of_class) in enumerate(images.items()):
            if len(of_class) <= self.held_out:
                raise bad_value('held_out', self.held_out, f'fewer than the {len(of_class)} images of {name}')
            shuffled = rng.sample(of_class, len(of_class))
            chosen = shuffled[: self.held_out] if self.part == 'held_out' else shuffled[self.held_out :]
            infos += [
                {
                    'img_path': path,
                    'img': image,
                    'img_shape': image.shape[:2],
                    'ori_shape': image.shape[:2],
                    'gt_label': label,
                }
                for path, image in chosen
            ]
        return infos


@lru_cache(maxsize=1)
def decoded(data_root: str, folders: tuple[str, ...], short_side: int) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Path and pixels (H, W, 3; BGR) of all images by class, sorted by path.

    Raises:
        ValueError: If there are none, or one cannot be read.
    """
    cv2.setNumThreads(0)  # a process that is forked later would wait for OpenCV's threads for ever
    paths = [path for folder in folders for path in Path(data_root, folder).glob('*/*') if path.suffix in SUFFIXES]
    if not paths:
        raise bad_value(
            'data_root', data_root, f'a folder with images in {", ".join(folders)}, a folder for each class'
        )
    images: dict[str, list[tuple[str, np.ndarray]]] = {
        name: [] for name in sorted({path.parent.name for path in paths})
    }
    for path in sorted(paths):
        image = cv2.imread(str(path))
        if image is None:
            raise ValueError(f'{path} is not an image')
        scale = short_side / min(image.shape[:2])
        size = [max(round(side * scale), short_side) for side in image.shape[1::-1]]
        images[path.parent.name].append((str(path), cv2.resize(image, size, interpolation=cv2.INTER_AREA)))
    return images
