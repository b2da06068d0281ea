"""Samples and training steps whose randomness follows from the seed and the iteration alone.

Nothing random outlives an iteration: each training step, and each sample loaded for it, starts from generators seeded
with ``(seed, rank, iteration, slot)``. Worker processes may have loaded ahead, be two or none, and be killed; the seed
and the iteration, which every checkpoint holds, are the state of all generators. The order of the samples is the
sampler's own function of its seed and the epoch, and batches an epoch has already seen are skipped unread.

Exact are samplers that draw from nothing but their ``seed`` and ``set_epoch`` (those of MMEngine, repeated
augmentation, aspect-ratio batches) and transforms that keep nothing between samples (MMDetection's CachedMosaic does).
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

STEP_SLOT = 0  # of an iteration's seeds: the training step's; sample i of its batch has slot i + 1


def seed_generators(*numbers: int) -> None:
    """Put the global generators of Python, NumPy and torch (all devices) into a state that follows from some numbers.

    Those of a training are (seed, rank, iteration, slot). The transforms and batch augmentations of OpenMMLab draw from
    these generators and take no others.
    """
    words = np.random.SeedSequence(numbers).generate_state(8)
    random.seed(words.tobytes())
    np.random.seed(words)  # noqa: NPY002
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


@dataclass(frozen=True)
class SeededBatch:
    """Indices of a batch that seed the generators just before each is loaded.

    A data loader loads ``[dataset[index] for index in batch]``, in whatever process; so this reaches every sample
    without a wrapper around the data set.
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
    """Batches of another batch sampler, with seeds, from any position on; the resumable loops put it into place.

    Args:
        sampler: Sampler of single indices.
        batch_size: Samples of a batch.
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
        """Let the next iteration go through ``epochs``, leaving out their beginning.

        Args:
            seed: The same on all ranks.
            iteration: Number, over the whole training, of the first batch not left out.
            skip: Batches left out, behind ``samples``.
            epochs: Epochs to go through one after the other.
            samples: Samples of this process left out in the first of the epochs.
        """
        self._seed = seed
        self._iteration = iteration
        self._skip = skip
        self._epochs = epochs
        self._samples = samples

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[SeededBatch]:
        batches = itertools.islice(self._all_batches(), self._skip, None)
        for iteration, indices in enumerate(batches, self._iteration):
            yield SeededBatch(tuple(indices), self._seed, get_rank(), iteration)

    def position(self, iteration: int) -> tuple[int, int]:
        """The epoch that an iteration belongs to, and the samples of this process used up to its end."""
        begins = [begin for begin in self._begins if begin[0] <= iteration]
        del self._begins[: len(begins) - 1]  # iterations only go forward
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
