"""Evaluation of the networks in a supernet, each with batch-norm statistics of its own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_world_size
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from mmhybrid.engine.bn_calibration import calibrated_on, calibration_batches
from mmhybrid.engine.evaluated_images import count_only
from mmhybrid.engine.kept_batches import ImageMemory, KeptBatches
from mmhybrid.engine.search_origin import check_disjoint
from mmhybrid.models.one_shot import OneShot
from mmhybrid.search import Racing, SearchError
from mmhybrid.search.racing import IMAGES_SEEN, PARTS
from mmhybrid.space import Arch
from mmhybrid.torch_api import is_device_error
from mmhybrid.utils.checks import bad_value, check_keys
from mmhybrid.utils.errors import first_line


class SubnetEvaluator:
    """Evaluates subnets, each with batch-norm statistics of its own; no rank waits for another.

    Images are loaded and preprocessed once if they fit into the memory, else once for each network. The scores are the
    same.

    Args:
        model: The supernet.
        dataset: Data set to evaluate on, complete on every rank.
        evaluator: Evaluator of the config.
        batches: Batches to calibrate on.
        batch_size: Number of images in a batch.
        num_workers: Number of processes that load the images.
        keep_images_mb: Memory in MiB for preprocessed images and their batches, on the model's device.
        racing: The rule by which evaluations stop early; None to evaluate all networks on all images.
        seed: Seed of the order of the images, which is random if evaluations stop early.

    Attributes:
        loader: Data loader of the images on which networks are evaluated.
    """

    def __init__(
        self,
        model: OneShot,
        dataset: Dataset,
        evaluator: Evaluator,
        batches: list[Any],
        batch_size: int,
        num_workers: int,
        keep_images_mb: int,
        racing: Racing | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self._racing = racing
        self.evaluator = evaluator
        self.evaluator.dataset_meta = getattr(dataset, 'metainfo', None)
        count_only(dataset, self.evaluator)
        memory = ImageMemory(keep_images_mb)
        self._calibration = KeptBatches('calibration images', batches, self._preprocessed, memory)
        self.loader: DataLoader = DataLoader(
            dataset,
            batch_size,
            num_workers=num_workers,
            collate_fn=pseudo_collate,
            persistent_workers=num_workers > 0,
            sampler=None if racing is None else _shuffled(len(dataset), seed),  # type: ignore[arg-type]
        )
        self._judged = KeptBatches(
            'validation images', self.loader, lambda batch: (batch, self._preprocessed(batch)), memory
        )

    def __call__(self, arch: Arch, floor: float | None = None) -> dict[str, float]:
        """Return every metric of the evaluator that is a number.

        Args:
            arch: The network.
            floor: Score that the network has to reach. The evaluation stops as soon as that is improbable; it then
                returns the metrics on the images so far, and the number of these images. None evaluates on all images.

        Raises:
            SearchError: If the device cannot be used by this process any more.
            RuntimeError: For any other error; the message names the network.
        """
        try:
            try:
                return self._score(arch, floor)
            except torch.cuda.OutOfMemoryError:
                let_go = [kept.let_go() for kept in (self._calibration, self._judged)]
                if not any(let_go):
                    raise
            return self._score(arch, floor)
        except Exception as error:
            if is_device_error(error):
                raise SearchError(
                    f'the device failed ({first_line(error)}), and can do nothing more for this process: start again '
                    'with --resume'
                ) from error
            raise RuntimeError(f'the evaluation of {arch.to_json()} failed: {error}') from error

    @torch.no_grad()
    def _score(self, arch: Arch, floor: float | None) -> dict[str, float]:
        self.model.set_arch(arch)
        for metric in self.evaluator.metrics:
            metric.results.clear()  # left by an evaluation that ended early
        seen = 0
        with calibrated_on(self.model, self._calibration):
            for batch, data in self._judged:
                samples = self.model(**data, mode='predict')
                self.evaluator.process(data_samples=samples, data_batch=batch)
                before, seen = seen, seen + len(samples)
                if floor is not None and self._is_lost(before, seen, floor):
                    return {**self._metrics(), IMAGES_SEEN: seen}
        return self._metrics()

    def _is_lost(self, before: int, seen: int, floor: float) -> bool:
        """Return whether the last batch completes another part of the images and the network is out of the race."""
        assert self._racing is not None
        racing, num_images = self._racing, len(self.loader.dataset)  # type: ignore[arg-type]
        if seen == num_images or before * PARTS // num_images == seen * PARTS // num_images:
            return False
        metrics = self._metrics()
        if racing.metric not in metrics:
            raise bad_value('racing.metric', racing.metric, f'one of {sorted(metrics)}')
        return racing.is_lost(metrics[racing.metric], seen, num_images, floor)

    def _metrics(self) -> dict[str, float]:
        """Return the metrics on the images so far."""
        metrics: dict[str, float] = {}
        for metric in self.evaluator.metrics:
            # BaseMetric.evaluate would gather from all ranks, but these evaluate other subnets.
            found = metric.compute_metrics(metric.results)
            prefix = f'{metric.prefix}/' if metric.prefix else ''
            metrics |= {f'{prefix}{name}': float(value) for name, value in found.items() if _is_number(value)}
        return metrics

    def _preprocessed(self, batch: Any) -> Any:
        return self.model.data_preprocessor(batch, False)


def supernet_of(runner: Runner) -> OneShot:
    """Return the supernet of a runner; its ranks may evaluate different networks at the same time.

    Raises:
        ValueError: If the runner's model is not a supernet.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not isinstance(model, OneShot):
        raise bad_value('model', type(model).__name__, 'mmhybrid.OneShot, for a search')
    if get_world_size() > 1:
        revert_sync_batchnorm(model)  # ranks evaluate different subnets and must not wait for each other
    return model


def build_subnet_evaluator(
    runner: Runner,
    model: OneShot,
    dataloader: Mapping[str, Any],
    evaluator: Evaluator | dict | list,
    calibration: Mapping[str, Any],
    keep_images_mb: int,
    racing: Racing | None = None,
    seed: int = 0,
) -> SubnetEvaluator:
    """Build the evaluator of a search's networks, and check that its images are not in the test set.

    Args:
        runner: Runner of the search; its config names the test set.
        model: The supernet.
        dataloader: Config of the data loader of the images on which networks are evaluated.
        evaluator: As for ValLoop.
        calibration: Arguments of :func:`calibration_batches`.
        keep_images_mb: See :class:`SubnetEvaluator`.
        racing: See :class:`SubnetEvaluator`.
        seed: See :class:`SubnetEvaluator`.

    Raises:
        ValueError: If an argument is wrong, or images are in the test set too.
    """
    dataset = DATASETS.build(dict(dataloader['dataset']))
    check_keys('calibration', calibration, ('dataset', 'num_images'), ('batch_size', 'num_workers', 'seed'))
    seen = {'val_dataloader': dataset, 'calibration.dataset': DATASETS.build(dict(calibration['dataset']))}
    check_disjoint(seen, runner.cfg.get('test_dataloader'))
    return SubnetEvaluator(
        model,
        dataset,
        evaluator if isinstance(evaluator, Evaluator) else runner.build_evaluator(evaluator),
        calibration_batches(**calibration),
        dataloader['batch_size'],
        dataloader.get('num_workers', 0),
        keep_images_mb,
        racing,
        seed,
    )


def _shuffled(num_images: int, seed: int) -> list[int]:
    """Return the indices of all images in a random order."""
    return torch.randperm(num_images, generator=torch.Generator().manual_seed(seed)).tolist()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) or (isinstance(value, torch.Tensor) and value.numel() == 1)
