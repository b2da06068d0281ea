"""Learning-rate schedules of a resumed training whose epochs have a new length."""

import copy
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import _ParamScheduler
from mmengine.runner import Runner

from mmhybrid.utils.checks import bad_value


class FreshSchedules(Hook):
    """Keeps the schedules of the config before a checkpoint replaces them, so that training can continue with them.

    A schedule counts iterations, and a checkpoint restores the old count and the old length of the schedule.
    """

    def __init__(self) -> None:
        self._states: list[dict[str, Any]] = []
        self._groups: list[list[dict[str, Any]]] = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the state of all schedules and parameter groups."""
        schedulers = list(_schedulers(runner))
        self._states = [copy.deepcopy(scheduler.state_dict()) for scheduler in schedulers]
        self._groups = [
            [{name: copy.deepcopy(value) for name, value in group.items() if name != 'params'} for group in groups]
            for groups in (scheduler.optimizer.param_groups for scheduler in schedulers)
        ]

    def replay(self, runner: Runner, epochs: int, epoch_length: int, iterations: int) -> None:
        """Advance the config's schedules to a position.

        Args:
            runner: Runner that has resumed.
            epochs: Number of completed epochs.
            epoch_length: Number of iterations in each.
            iterations: Number of further iterations in the current epoch.

        Raises:
            ValueError: If a schedule depends on validation, which cannot be repeated.
        """
        schedulers = list(_schedulers(runner))
        for scheduler, state, groups in zip(schedulers, self._states, self._groups, strict=True):
            if getattr(scheduler, 'need_val_args', False):
                raise bad_value('param_scheduler', type(scheduler).__name__, 'one without validation, at a new length')
            scheduler.load_state_dict(copy.deepcopy(state))
            for group, values in zip(scheduler.optimizer.param_groups, groups, strict=True):
                group.update(copy.deepcopy(values))
        for length in [*[epoch_length] * epochs, iterations]:
            for _ in range(length):
                _step(schedulers, by_epoch=False)
            epochs -= 1
            if epochs >= 0:
                _step(schedulers, by_epoch=True)


def _schedulers(runner: Runner) -> Iterator[_ParamScheduler]:
    found = runner.param_schedulers
    if isinstance(found, dict):
        found = [scheduler for schedulers in found.values() for scheduler in schedulers]
    yield from (scheduler for scheduler in found or () if isinstance(scheduler, _ParamScheduler))


def _step(schedulers: list[_ParamScheduler], by_epoch: bool) -> None:
    for scheduler in schedulers:
        if scheduler.by_epoch == by_epoch:
            scheduler.step()
