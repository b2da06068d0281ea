"""Testing of a network in its deployed form."""

from copy import deepcopy
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmhybrid.models.deployed import switch_to_deploy
from mmhybrid.registry import HOOKS


@HOOKS.register_module()
class DeployHook(Hook):
    """Tests a copy of the model in its deployed form (see :func:`switch_to_deploy`); ``tools/test.py --deploy``.

    The model itself is not changed, since hooks that exchange weights around a test, such as ``EMAHook``, need it.

    Raises:
        ValueError: During the test, if the model has no backbone of this package.
    """

    priority = 'VERY_LOW'  # runs after the hooks that exchange weights

    def before_test_epoch(self, runner: Runner) -> None:
        """Let a deployed copy process the images."""
        model = _unwrapped(runner)
        deployed: Any = deepcopy(model)
        switch_to_deploy(deployed)
        model.__dict__['test_step'] = deployed.test_step

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Let the model itself process the images again."""
        del _unwrapped(runner).__dict__['test_step']


def _unwrapped(runner: Runner) -> nn.Module:
    model: nn.Module = runner.model
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]
