"""Seeding that makes samples and training steps depend on the seed and the iteration alone.

No random state outlives an iteration: each training step, and each sample loaded for it, starts from generators seeded
with ``(seed, rank, iteration, slot)``. It does not matter how many worker processes there are, how far they have loaded
ahead, or whether they are killed. The seed and the iteration, which every checkpoint holds, determine the state of all
generators. The sampler determines the order of the samples from its seed and the epoch, and batches that an epoch has
already seen are skipped without being loaded.

This is exact for samplers that draw from nothing but their ``seed`` and ``set_epoch`` (those of MMEngine, repeated
augmentation, aspect-ratio batches) and for transforms that keep nothing between samples. It is not exact for
MMDetection's CachedMosaic, for example, which keeps earlier images.
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine import registry as mmengine_registry
from mmengine.dist import get_rank
from torch.utils.data import BatchSampler, Sampler

from mmhybrid.registry import DATA_SAMPLERS
from mmhybrid.utils.checks import check_int
from mmhybrid.utils.errors import CannotGoOnError

STEP_SLOT = 0  # the slot of the training step; sample i of its batch has slot i + 1


def seed_generators(*numbers: int) -> None:
    """Seed the global generators of Python, NumPy and torch (on all devices) from some numbers.

    In a training, the numbers are (seed, rank, iteration, slot). The transforms and batch augmentations of OpenMMLab
    draw from these generators only.
    """
    words = np.random.SeedSequence(numbers).generate_state(8)
    random.seed(words.tobytes())
    np.random.seed(words)  # noqa: NPY002
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


@dataclass(frozen=True)
class SeededBatch:
    """Indices of a batch that seed the generators just before each sample is loaded.

    A data loader evaluates ``[dataset[index] for index in batch]`` in one of its processes, so iterating over the
    indices seeds every sample without a wrapper around the data set.
    """

    indices: tuple[int, ...]
    seed: int
    rank: int
    iteration: int

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        for slot, index in enumerate(self.indices, STEP_SLOT + 1):
            seed_generators(self.seed, self.rank, self.iteration, slot)
            yield index


@DATA_SAMPLERS.register_module()
class SeededBatchSampler(Sampler[SeededBatch]):
    """Seeded batches of another batch sampler, from any position on; the resumable loops insert it.

    Args:
        sampler: Sampler of single indices.
        batch_size: Number of samples in a batch.
        batches: Config of the batch sampler that groups them.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, batches: Mapping[str, Any]) -> None:
        self.sampler = sampler
        self.batch_size = check_int('train_dataloader.batch_size', batch_size, 1)
        self.batches = mmengine_registry.DATA_SAMPLERS.build(
            dict(batches), default_args={'sampler': sampler, 'batch_size': batch_size}
        )
        self.drop_last = bool(getattr(self.batches, 'drop_last', False))
        self._begins: list[tuple[int, int, int]] = []
        self.seek(seed=0, iteration=0, skip=0, epochs=(0,))

    def seek(self, seed: int, iteration: int, skip: int, epochs: Iterable[int], samples: int = 0) -> None:
        """Let the next iteration go through ``epochs``, without their beginning.

        Args:
            seed: Seed, which is the same on all ranks.
            iteration: Number of the first batch that is not skipped, counted over the whole training.
            skip: Number of batches to skip after ``samples``.
            epochs: Epochs to go through one after the other.
            samples: Number of samples of this process to skip in the first epoch.
        """
        self._seed = seed
        self._iteration = iteration
        self._skip = skip
        self._epochs = epochs
        self._samples = samples

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[SeededBatch]:
        batches = itertools.islice(self._all_batches(), self._skip, None)
        for iteration, indices in enumerate(batches, self._iteration):
            yield SeededBatch(tuple(indices), self._seed, get_rank(), iteration)

    def position(self, iteration: int) -> tuple[int, int]:
        """Return the epoch of an iteration, and the number of samples this process has used in it up to its end."""
        begins = [begin for begin in self._begins if begin[0] <= iteration]
        del self._begins[: len(begins) - 1]  # earlier ones are not needed, since iterations only increase
        start, epoch, samples = begins[-1]
        return epoch, samples + (iteration + 1 - start) * self.batch_size

    def _all_batches(self) -> Iterator[Sequence[int]]:
        if hasattr(self.sampler, 'seed'):
            self.sampler.seed = self._seed
        self._begins = []
        iteration, samples = self._iteration - self._skip, self._samples
        for epoch in self._epochs:
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            self._begins.append((iteration, epoch, samples))
            begin = iteration
            for indices in self._batches_behind(samples):
                iteration += 1
                yield indices
            if iteration == begin and samples == 0:
                raise CannotGoOnError(f'train_dataloader: epoch {epoch} has no batch of {self.batch_size} samples')
            samples = 0

    def _batches_behind(self, samples: int) -> Iterator[Sequence[int]]:
        if samples and type(self.batches) is BatchSampler:
            rest = itertools.islice(self.sampler, samples, None)
            return iter(BatchSampler(rest, self.batch_size, self.drop_last))  # type: ignore[arg-type]
        return itertools.islice(self.batches, samples // self.batch_size, None)
