"""Training that continues after a kill as if nothing had happened, from the middle of an epoch too.

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
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import BatchSampler, Sampler

from mmhybrid.registry import DATA_SAMPLERS, LOOPS
from mmhybrid.utils.checks import bad_value, check_int

STEP_SLOT = 0  # of an iteration's seeds: the training step's; sample i of its batch has slot i + 1


def seed_generators(seed: int, rank: int, iteration: int, slot: int) -> None:
    """Put the global generators of Python, NumPy and torch (all devices) into a state that follows from the arguments.

    The transforms and batch augmentations of OpenMMLab draw from these generators and take no others.
    """
    words = np.random.SeedSequence((seed, rank, iteration, slot)).generate_state(8)
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
        self.batches = mmengine_registry.DATA_SAMPLERS.build(
            dict(batches), default_args={'sampler': sampler, 'batch_size': batch_size}
        )
        self.seek(seed=0, iteration=0, skip=0, epochs=(0,))

    def seek(self, seed: int, iteration: int, skip: int, epochs: Iterable[int]) -> None:
        """Let the next iteration go through ``epochs``, leaving out their first ``skip`` batches.

        Args:
            seed: The same on all ranks.
            iteration: Number, over the whole training, of the first batch not left out.
            skip: Batches left out.
            epochs: Epochs to go through one after the other.
        """
        self._seed = seed
        self._iteration = iteration
        self._skip = skip
        self._epochs = epochs

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[SeededBatch]:
        batches = itertools.islice(self._all_batches(), self._skip, None)
        for iteration, indices in enumerate(batches, self._iteration):
            yield SeededBatch(tuple(indices), self._seed, get_rank(), iteration)

    def _all_batches(self) -> Iterator[Sequence[int]]:
        if hasattr(self.sampler, 'seed'):
            self.sampler.seed = self._seed
        for epoch in self._epochs:
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            yield from self.batches


class _SeededLoop(BaseLoop):
    """What both loops share: seeded batches, and a seeded step."""

    def __init__(self, runner: Runner, dataloader: Mapping[str, Any]) -> None:
        if not isinstance(dataloader, Mapping):
            raise bad_value('train_dataloader', type(dataloader).__name__, 'a config, since the loop adds to it')
        seeded = dict(dataloader)
        batches = seeded.pop('batch_sampler', None)
        if batches is None:
            batches = {'type': BatchSampler, 'drop_last': seeded.pop('drop_last', False)}
        seeded['batch_sampler'] = {'type': SeededBatchSampler, 'batches': batches}
        super().__init__(runner, seeded)

    def seek(self, skip: int, epochs: Iterable[int]) -> None:
        """Let the data loader go through ``epochs``, leaving out their first ``skip`` batches."""
        by_rank = self.runner._randomness_cfg.get('diff_rank_seed', False)
        seed = self.runner.seed - get_rank() if by_rank else self.runner.seed
        if skip:
            self.runner.logger.info(f'Leaving out the first {skip} batches, which have been trained on')
        self.dataloader.batch_sampler.seek(seed, self.runner.iter, skip, epochs)

    def seed_step(self) -> None:
        """Seed the coming training step, the same on all ranks unless ``diff_rank_seed`` is set."""
        seed_generators(self.runner.seed, 0, self.runner.iter, STEP_SLOT)


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop, _SeededLoop):
    """MMEngine's epoch-based loop, which takes an interrupted epoch up where its checkpoint was written.

    The training must go on with the same batch size and number of processes. Arguments as for EpochBasedTrainLoop;
    ``train_dataloader`` has to be a config.
    """

    def run_epoch(self) -> None:
        """Train on what is left of the epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._batches_done()
        self.seek(done, (self._epoch,))
        for index, batch in enumerate(self.dataloader, done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch, with freshly seeded generators."""
        self.seed_step()
        super().run_iter(idx, data_batch)

    def _batches_done(self) -> int:
        """Batches of this epoch that were trained on before a resume.

        The message hub, part of each checkpoint, keeps where the epoch began: a batch sampler's length is not always
        the number of batches it gives.
        """
        hub = self.runner.message_hub
        begin = hub.runtime_info.get('epoch_begin')
        if begin is None or begin['epoch'] != self._epoch:
            begin = {'epoch': self._epoch, 'iter': self._iter}
            hub.update_info('epoch_begin', begin)
        return self._iter - begin['iter']


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop, _SeededLoop):
    """MMEngine's iteration-based loop, which skips batches it has trained on without loading them.

    Arguments as for IterBasedTrainLoop; ``train_dataloader`` has to be a config. A finite sampler starts over, as the
    next epoch, when it is exhausted.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping[str, Any],
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        # IterBasedTrainLoop.__init__ would start the workers, before it is known where to start
        _SeededLoop.__init__(self, runner, dataloader)
        self._max_iters = check_int('train_cfg.max_iters', max_iters, 1)
        self._max_epochs = 1
        self._epoch = 0
        self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)

    def run(self) -> torch.nn.Module:
        """Train and validate until ``max_iters``."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.seek(self._iter, itertools.count())
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            if self._validation_is_due():
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_iter(self, data_batch: Any) -> None:
        """Train on one batch, with freshly seeded generators."""
        self.seed_step()
        super().run_iter(data_batch)

    def _validation_is_due(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters
