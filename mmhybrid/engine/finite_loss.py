"""A hook that ends trainings with a loss that is NaN or infinite."""

import math
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from mmhybrid.models.checkpoints import read_checkpoint, weights_of
from mmhybrid.registry import HOOKS
from mmhybrid.utils.checks import check_int
from mmhybrid.utils.errors import CannotGoOnError

# The scale of a scaled loss halves at each skipped step. This many steps reduce it from its initial 2 ** 16 to below 1.
SCALED_STEPS = 20


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Ends a training whose loss is NaN or infinite before its weights are saved, and names the last good checkpoint.

    Trainings by ``tools/train.py`` use this hook; ``default_hooks.finite_loss=None`` turns it off.

    Args:
        interval: Number of iterations after which the ranks compare their losses; they also do so before checkpoints.
        tolerated: Number of consecutive losses of this kind that do not end the training. None stands for 0, or for
            :data:`SCALED_STEPS` with a scaled loss (``AmpOptimWrapper``), which skips these steps.

    Raises:
        CannotGoOnError: During the training.
        ValueError: If an argument is wrong.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 10, tolerated: int | None = None) -> None:
        self.interval = check_int('interval', interval, 1)
        self.tolerated = None if tolerated is None else check_int('tolerated', tolerated, 0)
        self._in_a_row = 0
        self._first = ''

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Check the loss of the iteration."""
        losses = {name: _number(value) for name, value in (outputs or {}).items() if 'loss' in name and _is_one(value)}
        found = {name: value for name, value in losses.items() if not math.isfinite(value)}
        if not found:
            self._in_a_row = 0
        else:
            if not self._in_a_row:
                told = ', '.join(f'{name} {value}' for name, value in found.items())
                self._first = f'at iteration {runner.iter + 1} ({told})'
            self._in_a_row += 1
        if self.every_n_train_iters(runner, self.interval) or self._is_saved_now(runner):
            self._check(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Check before a checkpoint of the epoch is saved."""
        self._check(runner)

    def _is_saved_now(self, runner: Runner) -> bool:
        hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and not hook.by_epoch]
        return self.is_last_train_iter(runner) or any(
            hook.interval > 0 and self.every_n_train_iters(runner, hook.interval) for hook in hooks
        )

    def _check(self, runner: Runner) -> None:
        in_a_row = torch.tensor(self._in_a_row)
        all_reduce(in_a_row, 'max')
        if int(in_a_row) <= self._borne(runner):
            return
        good: list[str | None] = [last_good_checkpoint(runner) if is_main_process() else None]
        broadcast_object_list(good)
        go_on = f'the last checkpoint with finite weights is {good[0]}' if good[0] else 'no checkpoint was saved before'
        raise CannotGoOnError(
            f'training ends, since its loss was not finite {self._first or "on another rank"}; {go_on}; a lower '
            'learning rate or clipped gradients may help (default_hooks.finite_loss=None trains on regardless)'
        )

    def _borne(self, runner: Runner) -> int:
        if self.tolerated is not None:
            return self.tolerated
        wrapper = runner.optim_wrapper
        is_scaled = isinstance(wrapper, AmpOptimWrapper) and wrapper.loss_scaler.is_enabled()
        return SCALED_STEPS if is_scaled else 0


def last_good_checkpoint(runner: Runner) -> str | None:
    """Return the newest checkpoint of a training with finite weights only; None if there is none."""
    folders = {getattr(hook, 'out_dir', None) or runner.work_dir for hook in runner.hooks}
    files = [file for folder in folders for file in Path(folder).glob('*.pth') if file.is_file()]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            weights = weights_of(read_checkpoint(str(file))).values()
        except ValueError:  # the file is damaged, or from another program
            continue
        if all(bool(torch.isfinite(weight).all()) for weight in weights if isinstance(weight, Tensor)):
            return str(file)
    return None


def _is_one(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, Tensor) and value.numel() == 1)


def _number(value: Any) -> float:
    # torch warns when a tensor with a gradient is converted
    return float(value.detach() if isinstance(value, Tensor) else value)
