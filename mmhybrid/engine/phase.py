"""What a runner is at: whether an error is a mistake in a config, or one of the work."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

TRIALS = 100


class Phase(Hook):
    """Whether a runner has built everything and is at work; an error leaves it at that.

    Attributes:
        at_work: From the first iteration on.
        trying: In the first :data:`TRIALS` iterations of a training and in the first validation or test, where parts of
            a config meet that do not fit together.
    """

    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.at_work = self.trying = False
        self._num_iters = 0
        self._has_validated = False

    def before_train(self, runner: Runner) -> None:
        """From here on, errors keep their traceback."""
        self.at_work = self.trying = True
        self._num_iters = 0
        self._has_validated = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count."""
        self._num_iters += 1
        self.trying = self._num_iters < TRIALS

    def before_val(self, runner: Runner) -> None:
        """A first validation."""
        self.trying = not self._has_validated

    def after_val(self, runner: Runner) -> None:
        """It is over."""
        self.trying, self._has_validated = self._num_iters < TRIALS, True

    def after_train(self, runner: Runner) -> None:
        """The work is done."""
        self.at_work = self.trying = False

    def before_test(self, runner: Runner) -> None:
        """As before a training."""
        self.at_work = self.trying = True

    after_test = after_train
