"""The phase of a runner, which decides whether an error is a mistake in the config or a failure of the work."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

TRIALS = 100


class Phase(Hook):
    """Records whether a runner has built everything and is at work; after an error, the record stays as it is.

    Attributes:
        at_work: Whether a training or a test has started and not ended.
        trying: Whether the runner is in the first :data:`TRIALS` iterations of a training or in the first validation or
            test, where parts of a config that do not fit together first meet.
    """

    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.at_work = self.trying = False
        self._num_iters = 0
        self._has_validated = False

    def before_train(self, runner: Runner) -> None:
        """Enter the phase in which errors keep their traceback."""
        self.at_work = self.trying = True
        self._num_iters = 0
        self._has_validated = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count iterations."""
        self._num_iters += 1
        self.trying = self._num_iters < TRIALS

    def before_val(self, runner: Runner) -> None:
        """Record the first validation."""
        self.trying = not self._has_validated

    def after_val(self, runner: Runner) -> None:
        """Record that a validation has ended."""
        self.trying, self._has_validated = self._num_iters < TRIALS, True

    def after_train(self, runner: Runner) -> None:
        """Record that the work is done."""
        self.at_work = self.trying = False

    def before_test(self, runner: Runner) -> None:
        """Enter the phase of a test."""
        self.at_work = self.trying = True

    after_test = after_train
