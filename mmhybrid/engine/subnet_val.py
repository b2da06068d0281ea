"""Validation of several subnets, which shows how a supernet learns."""

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
    """Return the largest, the smallest and a fixed set of random architectures, by their names in the log."""
    rng = step_rng(seed, -1)
    archs = {'largest': space.largest(), 'smallest': space.smallest()}
    return archs | {f'random{i}': space.sample(rng) for i in range(num_random)}


@LOOPS.register_module()
class SubnetValLoop(ValLoop):
    """Evaluates the largest, the smallest and a fixed set of random subnets.

    The names of metrics begin with the subnet: ``largest/accuracy/top1``.

    Args:
        runner: Runner whose model is a :class:`OneShot`.
        dataloader: As for ValLoop.
        evaluator: As for ValLoop.
        num_random: Number of random subnets.
        seed: Seed of the random subnets; the same seed gives the same subnets in every validation.
        calibration: Arguments of :func:`calibration_batches`, for batch-norm statistics of each subnet; None to use
            those of the supernet.
        fp16: As for ValLoop.
        keep_images_mb: Memory in MiB for the images of a validation. Images that fit are loaded for the first subnet
            only, else for each subnet.

    Raises:
        ValueError: If the model is not a :class:`OneShot`.
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
        """Validate every subnet; the active subnet is active again afterwards, even after an error."""
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
