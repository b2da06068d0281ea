"""Images that are decoded once and stay in memory, of which each seed holds others out."""

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
    """Photographs in folders of classes, in memory, split anew by each seed.

    All images of the same class, whatever folder of ``folders`` they are in, are shuffled by the split's seed, and its
    first ones are held out: figures over several seeds then tell of other training and other test images too.

    Args:
        data_root: Folder of images.
        part: ``train`` or ``held_out``.
        split: Seed of the split.
        held_out: Images of each class that are held out.
        short_side: Pixels to which they are resized when they are decoded.
        folders: Those in ``data_root`` with a folder of each class.
        pipeline: As of BaseDataset; ``img`` is there already.
        indices: As of BaseDataset.

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
        # what is not serialized is handed out as copies, which transforms may write into
        super().__init__(data_root=data_root, pipeline=list(pipeline), indices=indices, serialize_data=False)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The images of the part."""
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
    """Path and pixels (H, W, BGR) of all images by class, in the order of their names.

    Raises:
        ValueError: If there are none, or one cannot be read.
    """
    cv2.setNumThreads(0)  # a process that is forked later would wait for OpenCV's threads
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
            raise ValueError(f'{path} is no image')
        scale = short_side / min(image.shape[:2])
        size = [max(round(side * scale), short_side) for side in image.shape[1::-1]]
        images[path.parent.name].append((str(path), cv2.resize(image, size, interpolation=cv2.INTER_AREA)))
    return images
