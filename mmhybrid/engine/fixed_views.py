"""A data set with a few fixed views of each image, whatever else is random."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine import registry as mmengine_registry

from mmhybrid.engine.seeding import seed_generators
from mmhybrid.registry import DATASETS
from mmhybrid.utils.checks import check_class, check_int


@DATASETS.register_module()
class FixedViews:
    """A wrapper of a data set that has a few fixed views of each image.

    The random numbers of a view's pipeline follow from ``seed``, the image and the number of the view. Each access
    draws one of the views. A teacher's outputs can therefore be kept, and teacher and student see the same view
    ("Knowledge distillation: A good teacher is patient and consistent", Beyer et al., 2022, section 3.1; "A Fast
    Knowledge Distillation Framework for Visual Recognition", Shen and Xing, 2022).

    Args:
        dataset: Config of the data set; its pipeline has to draw from the generators of Python, NumPy and torch.
        num_views: Number of views of each image.
        seed: Seed of the views.
        lazy_init: As for MMEngine's data sets.
    """

    def __init__(self, dataset: Mapping[str, Any], num_views: int = 1, seed: int = 0, lazy_init: bool = False) -> None:
        check_class('dataset', dataset, Mapping)
        self.num_views = check_int('num_views', num_views, 1)
        self.seed = check_int('seed', seed, 0)
        self.dataset: Any = mmengine_registry.DATASETS.build({**dataset, 'lazy_init': lazy_init})

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.view(index, random.randrange(self.num_views))

    def view(self, index: int, number: int) -> Any:
        """Return a view of an image, as the pipeline returns it."""
        with _own_generators():
            seed_generators(self.seed, index, number)
            return self.dataset[index]

    @property
    def metainfo(self) -> dict[str, Any]:
        """Meta information of the wrapped data set."""
        info: dict[str, Any] = self.dataset.metainfo
        return info

    def full_init(self) -> None:
        """Load the list of samples."""
        self.dataset.full_init()

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return the information on an image before its pipeline."""
        info: dict[str, Any] = self.dataset.get_data_info(index)
        return info


@contextmanager
def _own_generators() -> Iterator[None]:
    """Restore the state of the generators of Python, NumPy and torch's CPU after the block."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
