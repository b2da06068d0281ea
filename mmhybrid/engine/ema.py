"""A moving average of the weights that follows optimizer steps, and validation with and without it."""

from collections.abc import Mapping
from typing import Any

from mmengine import hooks
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmhybrid.registry import HOOKS
from mmhybrid.utils.checks import check_bool


@HOOKS.register_module()
class EMAHook(hooks.EMAHook):
    """MMEngine's EMA hook, but it averages only after optimizer steps and can validate the plain weights too.

    Under gradient accumulation, MMEngine's hook averages after each micro-batch, and so forgets faster by the number of
    micro-batches. Like the released code of GLNet, this hook can validate both sets of weights in every epoch. Metrics
    of the plain weights get the suffix ``_origin``, so that the checkpoint hook keeps the best of each with
    ``save_best=['accuracy/top1', 'accuracy/top1_origin']``.

    Args:
        momentum: Share of the newest weights in the average.
        update_buffers: Whether the statistics of norms are averaged as well.
        begin_iter: Iteration from which on weights are averaged.
        begin_epoch: Epoch from which on weights are averaged; only one of the two may be set.
        evaluate_on_origin: Whether the plain weights are validated after the averaged ones.
    """

    def __init__(
        self,
        momentum: float = 2e-4,
        update_buffers: bool = False,
        begin_iter: int = 0,
        begin_epoch: int = 0,
        evaluate_on_origin: bool = False,
    ) -> None:
        super().__init__(
            begin_iter=begin_iter, begin_epoch=begin_epoch, momentum=momentum, update_buffers=update_buffers
        )
        self.evaluate_on_origin = check_bool('evaluate_on_origin', evaluate_on_origin)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Update the average, unless this micro-batch only accumulated gradients."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper) or wrapper.should_update():
            super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Restore the plain weights, and add their metrics to ``metrics``."""
        super().after_val_epoch(runner, metrics)
        if not self.evaluate_on_origin:
            return
        loop = runner.val_loop
        for index, batch in enumerate(loop.dataloader):
            loop.run_iter(index, batch)
        for name, value in loop.evaluator.evaluate(len(loop.dataloader.dataset)).items():
            runner.message_hub.update_scalar(f'val/{name}_origin', value)
            if metrics is not None:
                metrics[f'{name}_origin'] = value
