"""Validation that lets a user see a supernet learn."""

from collections.abc import Mapping
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, ValLoop
from torch.utils.data import DataLoader

from mmhybrid.engine.bn_calibration import calibrated, calibration_batches
from mmhybrid.engine.kept_batches import KEEP_IMAGES_MB, ImageMemory, KeptBatches
from mmhybrid.models.mutators import step_rng
from mmhybrid.models.one_shot import OneShot
from mmhybrid.registry import LOOPS
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import bad_value, check_int, check_keys


def reported_archs(space: SearchSpace, num_random: int, seed: int) -> dict[str, Arch]:
    """The largest, the smallest and a fixed set of random architectures, by the name they have in the log."""
    rng = step_rng(seed, -1)
    archs = {'largest': space.largest(), 'smallest': space.smallest()}
    return archs | {f'random{i}': space.sample(rng) for i in range(num_random)}


@LOOPS.register_module()
class SubnetValLoop(ValLoop):
    """Evaluate the largest, the smallest and a fixed set of random subnets.

    Metrics have the name of the subnet in front: ``largest/accuracy/top1``.

    Args:
        runner: Its model is a :class:`OneShot`.
        dataloader: As of ValLoop.
        evaluator: As of ValLoop.
        num_random: Random subnets.
        seed: They are the same in every validation with the same seed.
        calibration: Arguments of :func:`calibration_batches`, for batch-norm statistics of each subnet's own; None to
            use those of the supernet.
        fp16: As of ValLoop.
        keep_images_mb: Memory in MiB in which a validation keeps its images, so that they are loaded for the first
            subnet alone; if they take more, for each.

    Raises:
        ValueError: If the model is no :class:`OneShot`.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        num_random: int = 3,
        seed: int = 0,
        calibration: Mapping[str, Any] | None = None,
        fp16: bool = False,
        keep_images_mb: int = KEEP_IMAGES_MB,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.model: OneShot = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(self.model, OneShot):
            raise bad_value('model', type(self.model).__name__, 'mmhybrid.OneShot, for a SubnetValLoop')
        self.archs = reported_archs(self.model.space, check_int('num_random', num_random, 0), seed)
        self.keep_images_mb = check_int('keep_images_mb', keep_images_mb, 0)
        self.batches: list[Any] = []
        if calibration is not None:
            check_keys('calibration', calibration, ('dataset', 'num_images'), ('batch_size', 'num_workers', 'seed'))
            self.batches = calibration_batches(**calibration)

    def run(self) -> dict[str, float]:
        """Run the validation of every subnet; the active one stays active, after an error too."""
        active = self.model.arch
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        metrics: dict[str, float] = {}
        images = KeptBatches(
            'validation images', self.dataloader, lambda batch: batch, ImageMemory(self.keep_images_mb)
        )
        try:
            for name, arch in self.archs.items():
                self.model.set_arch(arch)
                self.model.eval()
                if self.batches:
                    with calibrated(self.model, self.batches):
                        found = self._evaluate(images)
                else:
                    found = self._evaluate(images)
                metrics |= {f'{name}/{key}': value for key, value in found.items()}
        finally:
            self.model.set_arch(active)
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    def _evaluate(self, images: KeptBatches) -> dict[str, float]:
        for index, batch in enumerate(images):
            self.run_iter(index, batch)
        return self.evaluator.evaluate(len(self.dataloader.dataset))
