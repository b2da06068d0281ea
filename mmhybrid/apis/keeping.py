"""Computes the outputs of a teacher for all training images before a training, which then reads them from files."""

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmhybrid.apis.annotation_files import TRAINING, check_annotation_files
from mmhybrid.engine.fixed_views import FixedViews
from mmhybrid.engine.seeding import seed_generators
from mmhybrid.models.build import build_model
from mmhybrid.models.kept_outputs import digests_of
from mmhybrid.models.teachers import Lesson, Normalisation
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.errors import first_line

_PROBES = 32  # number of images that are loaded twice


class KeptTeacher:
    """Computes the outputs of a config's teacher for each view of each image, unless they exist already.

    Outputs in existing files are kept if their images have not changed. An interrupted run continues with the file that
    it was writing.

    Args:
        cfg: Config of a training; its ``model.teacher.kept`` is the folder.
        device: Device of the teacher.

    Raises:
        ValueError: If the config has no such teacher, its pipeline is random, the folder has
            outputs of another teacher or data set, or there is not enough disk space.
    """

    def __init__(self, cfg: Config, device: str = 'cpu') -> None:
        check_annotation_files(cfg, TRAINING)
        loader: Any = cfg.get('train_dataloader') or {}
        if not isinstance(loader.get('dataset'), dict) or 'batch_size' not in loader:
            raise bad_value('train_dataloader', loader, 'a dict with dataset and batch_size')
        self._model = build_model(cfg)
        lesson: Lesson | None = getattr(self._model, 'lesson', None)
        if lesson is None or lesson.kept is None:
            allowed = (
                'the folder of its outputs, with a FeatureDistiller, TaughtClassifier or OneShot that has a teacher'
            )
            raise bad_value('model.teacher.kept', None, allowed)
        self._lesson, self.folder = lesson, lesson.kept
        try:
            self._model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise bad_value('device', device, f'a device that torch finds ({first_line(error)})') from error
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
            self._views = _Views(DATASETS.build(loader.dataset))
        self._check_views()
        self._batch_size, self._workers = int(loader.batch_size), int(loader.get('num_workers', 0))
        shape = self._outputs(self._pixels(pseudo_collate([self._views[0]]))).shape[1:]
        self.plan = lesson.plan(shape, len(self._views))
        self._make_folder()

    def _check_views(self) -> None:
        for place in sorted({number * (len(self._views) - 1) // (_PROBES - 1) for number in range(_PROBES)}):
            images = []
            for seed in range(2):
                seed_generators(seed, place)
                images.append(self._views[place]['inputs'])
            if not torch.equal(*images):
                allowed = 'mmhybrid.FixedViews(num_views=...) around it, or a pipeline without randomness'
                raise bad_value('train_dataloader.dataset', 'another image each time', allowed)

    def _make_folder(self) -> None:
        self.plan.write(self.folder)
        there = sum(path.stat().st_size for path in self.folder.glob('outputs-*.npy'))
        needed = 4 * self.plan.rows * int(np.prod(self.plan.shape)) - there
        if needed > shutil.disk_usage(self.folder).free:
            raise ValueError(f'{self.folder}: no room for the {needed / 2**20:.0f} MiB that outputs take')

    def run(self) -> Iterator[int]:
        """Write the files, and yield the number of outputs that had to be computed for each."""
        loader: Any = DataLoader(
            self._views, batch_sampler=list(self._batches()), num_workers=self._workers, collate_fn=pseudo_collate
        )
        batches = iter(loader)
        for number in range(self.plan.num_files):
            file = self.plan.file(self.folder, number)
            there = (file.digests(), file.outputs()) if file.is_there() else None
            new_digests, new_outputs, computed = [], [], 0
            for part in self._parts(number):
                pixels = self._pixels(next(batches))
                new_digests.append(digests_of(pixels, 'teacher.kept'))
                if there is not None and np.array_equal(there[0][part], new_digests[-1]):
                    new_outputs.append(there[1][part])
                else:
                    new_outputs.append(self._outputs(pixels).cpu().numpy())
                    computed += len(pixels)
            if computed:
                file.write(np.concatenate(new_digests), np.concatenate(new_outputs))
            yield computed

    def _parts(self, number: int) -> list[slice]:
        """Return the positions of each batch in a file."""
        length = len(self.plan.rows_of(number))
        return [slice(place, min(place + self._batch_size, length)) for place in range(0, length, self._batch_size)]

    def _batches(self) -> Iterator[list[int]]:
        """Yield the rows of each batch."""
        for number in range(self.plan.num_files):
            yield from (list(self.plan.rows_of(number)[part]) for part in self._parts(number))

    @torch.no_grad()
    def _pixels(self, batch: Any) -> Tensor:
        """Return the pixels of a batch that the teacher gets in a training."""
        preprocessor = self._model.data_preprocessor
        return Normalisation.of(preprocessor).undo(preprocessor(batch, False)['inputs'])

    def _outputs(self, pixels: Tensor) -> Tensor:
        """Return the outputs of a batch.

        The batch is padded to the batch size of the training, since rounding errors depend on the batch size.
        """
        filled = pixels[torch.arange(max(len(pixels), self._batch_size), device=pixels.device) % len(pixels)]
        return self._lesson.computed(filled)[: len(pixels)]


class _Views(Dataset[Any]):
    """The views of all images: the first view of each image, then the second of each, and so on."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._num_views = dataset.num_views if isinstance(dataset, FixedViews) else 1

    def __len__(self) -> int:
        return len(self._dataset) * self._num_views

    def __getitem__(self, row: int) -> Any:
        number, index = divmod(row, len(self._dataset))
        return self._dataset.view(index, number) if isinstance(self._dataset, FixedViews) else self._dataset[index]
