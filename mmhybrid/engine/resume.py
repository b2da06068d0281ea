"""Training that continues after a kill as if nothing had happened, also in the middle of an epoch.

The loops put seeds into their batches (:mod:`mmhybrid.engine.seeding`). These seeds and the iteration are all the
random state that a checkpoint has to hold. The position in an epoch is kept in samples, so that another batch size or
number of processes continues at the same position (see :mod:`mmhybrid.engine.data_position`). In the middle of an
epoch, another data set or sampler is refused.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import BatchSampler, DataLoader

from mmhybrid.engine.data_position import HUB_KEY, DataPosition, Feed, describe_feed
from mmhybrid.engine.reschedule import FreshSchedules
from mmhybrid.engine.seeding import STEP_SLOT, SeededBatchSampler, seed_generators
from mmhybrid.registry import LOOPS
from mmhybrid.utils.checks import bad_value, check_int


class _SeededLoop(BaseLoop):
    """The common base of both loops: seeded batches from any position on, and a seeded step.

    A data loader that is passed as an object (by a program, or the empty one of MMPretrain's ``vis_scheduler.py``) is
    not changed. Its steps are seeded but its samples are not, and an interrupted epoch starts again.

    Raises:
        ValueError: If the config of the data loader has no batch size, or the data loader gives no batch.
    """

    endless = False  # whether the loop starts a new epoch at the end of one, and accepts samplers that never end
    _iter: int
    _epoch: int

    def __init__(self, runner: Runner, dataloader: Mapping[str, Any] | DataLoader) -> None:
        self._schedules = FreshSchedules()
        runner.register_hook(self._schedules)
        self._feed: Feed | None = None
        if not isinstance(dataloader, Mapping):
            super().__init__(runner, dataloader)
            if len(self.dataloader) == 0:
                raise ValueError('train_dataloader gives no batch')
            return
        if 'batch_size' not in dataloader:
            raise ValueError('train_dataloader has no batch_size')
        seeded = dict(dataloader)
        batches = seeded.pop('batch_sampler', None)
        if batches is None:
            batches = {'type': BatchSampler, 'drop_last': seeded.pop('drop_last', False)}
        seeded['batch_sampler'] = {'type': SeededBatchSampler, 'batches': batches}
        super().__init__(runner, seeded)
        # A loader with a batch sampler has no batch size itself, but hooks of OpenMMLab ask for it. Nothing else reads
        # it then.
        self.dataloader.__dict__['batch_size'] = self.dataloader.batch_sampler.batch_size
        self._check_batches()
        self._feed = describe_feed(self.dataloader, dataloader.get('sampler'))

    def _check_batches(self) -> None:
        samples, batches = len(self.dataloader.dataset), self.dataloader.batch_sampler
        never_ends = isinstance(batches.sampler, InfiniteSampler)
        if never_ends and not self.endless:
            raise bad_value('train_dataloader.sampler', 'InfiniteSampler', 'one that ends, such as DefaultSampler')
        if samples == 0 or (len(batches) == 0 and not never_ends):
            raise ValueError(
                f'train_dataloader gives no batch: its data set has {samples} samples, '
                f'its batch_size is {batches.batch_size}' + (' with drop_last' if batches.drop_last else '')
            )

    def find_position(self) -> None:
        """Find the position in the data at which the checkpoint, if any, was written, and set the schedules to it.

        Raises:
            ValueError: If the data set, the sampler or their settings differ from those in the checkpoint.
        """
        self._skip, self._first_epoch, self._samples = 0, self._epoch, 0
        if not self._iter or (self.endless and self._is_over()):  # the latter leaves nothing out, since nothing follows
            return
        if self._feed is None:
            self.runner.message_hub.runtime_info.pop(HUB_KEY, None)  # left by a training whose loader was a config
            self._skip = self._batches_without_position()
            return
        saved = self.runner.message_hub.runtime_info.get(HUB_KEY)
        if saved is None:
            self._skip = self._batches_without_position()
            return
        position = DataPosition.from_dict(saved)
        position.check_reached(self._iter, self._feed)
        if self.endless or position.epoch == self._epoch:
            self._first_epoch = position.epoch
            self._samples = position.samples // self._feed.num_processes
        if self._samples:
            self._feed.refuse_another(position.feed)
        if position.feed != self._feed:
            self.runner.logger.warning(
                f'The data of this training was {position.feed}, and is {self._feed} from now on'
            )
        if (position.feed.dataset, position.feed.samples) != (self._feed.dataset, self._feed.samples):
            self._adopt_epoch_length()

    def _adopt_epoch_length(self) -> None:
        """Number the iterations and set the schedules as if the whole training had used the present feed."""
        assert self._feed is not None
        if self._is_over():
            return
        length, epochs, within = len(self.dataloader), 0, self._iter
        if not self.endless:
            epochs, within = self._epoch, min(self._samples // self._feed.batch_size, length)
            self._iter = epochs * length + within
        self._schedules.replay(self.runner, epochs, length, within)
        self.runner.optim_wrapper.initialize_count_status(self.runner.model, self._iter, self._max_iters)  # type: ignore[attr-defined]

    def _is_over(self) -> bool:
        """Return whether the checkpoint completes the training, so that huge numbers in it cause no endless replay."""
        return self._iter >= self._max_iters if self.endless else self._epoch >= self._max_epochs

    def _batches_without_position(self) -> int:
        """Return the number of batches to skip for a checkpoint of a loop that writes no positions."""
        return 0

    def seek(self, epochs: Iterable[int], samples: int = 0, skip: int = 0) -> None:
        """Let the data loader go through ``epochs``, without their first ``samples`` and the next ``skip`` batches."""
        if self._feed is None:
            return
        by_rank = self.runner._randomness_cfg.get('diff_rank_seed', False)
        seed = self.runner.seed - get_rank() if by_rank else self.runner.seed
        if skip or samples:
            left_out = skip + samples // self._feed.batch_size
            self.runner.logger.info(f'Leaving out the first {left_out} batches, which have been trained on')
        self.dataloader.batch_sampler.seek(seed, self.runner.iter, skip, epochs, samples)

    def begin_step(self) -> None:
        """Record the position after the coming training step, for checkpoints, and seed the step.

        The seed is the same on all ranks unless ``diff_rank_seed`` is set.
        """
        if self._feed is not None:
            epoch, samples = self.dataloader.batch_sampler.position(self.runner.iter)
            position = DataPosition(epoch, samples * self._feed.num_processes, self._feed)
            self.runner.message_hub.update_info(HUB_KEY, position.to_dict())
        seed_generators(self.runner.seed, 0, self.runner.iter, STEP_SLOT)


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop, _SeededLoop):
    """MMEngine's epoch-based loop, which continues an interrupted epoch where its checkpoint was written.

    With another batch size or number of processes, iterations are numbered and schedules continue as if all epochs had
    had the new length. The arguments are those of EpochBasedTrainLoop. A ``train_dataloader`` that is not a config
    continues at the beginning of an epoch.
    """

    def run(self) -> torch.nn.Module:
        """Train and validate until ``max_epochs``."""
        self.find_position()
        return super().run()

    def run_epoch(self) -> None:
        """Train on the rest of the epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        samples, self._samples = self._samples, 0
        self.seek((self._epoch,), samples)
        trained_on = samples // self._feed.batch_size if self._feed is not None else 0
        for index, batch in enumerate(self.dataloader, trained_on):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch, with freshly seeded generators."""
        self.begin_step()
        super().run_iter(idx, data_batch)


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop, _SeededLoop):
    """MMEngine's iteration-based loop, which skips batches that it has trained on without loading them.

    The arguments are those of IterBasedTrainLoop. Skipped batches of a ``train_dataloader`` that is not a config are
    loaded. A finite sampler starts its next epoch when it is exhausted.
    """

    endless = True

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping[str, Any] | DataLoader,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        # IterBasedTrainLoop.__init__ would start the workers before the first sample is known.
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
        self.find_position()
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.seek(itertools.count(self._first_epoch), self._samples, self._skip)
        batches = iter(self.dataloader) if self._feed is not None else self._again_and_again()
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
        self.begin_step()
        super().run_iter(data_batch)

    def _again_and_again(self) -> Iterator[Any]:
        batches = itertools.chain.from_iterable(itertools.repeat(self.dataloader))
        return itertools.islice(batches, self._skip, None)

    def _batches_without_position(self) -> int:
        return self._iter

    def _validation_is_due(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters
