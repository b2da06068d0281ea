"""Batch-norm statistics for one subnet.

A supernet's running statistics mix those of all subnets it was trained with. Before a subnet is evaluated, its own
statistics are therefore computed as the plain average over some training images. Afterwards the supernet's statistics
are restored.
"""

import copy
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Subset

from mmhybrid.models.one_shot import OneShot
from mmhybrid.utils.checks import check_int


def calibration_batches(
    dataset: Mapping[str, Any], num_images: int, batch_size: int = 64, num_workers: int = 0, seed: int = 0
) -> list[Any]:
    """Return the batches to calibrate on, loaded once; they are the same on every rank.

    Args:
        dataset: Config of training images, with the pipeline of validation.
        num_images: Number of images, drawn at random.
        batch_size: Number of images in a batch.
        num_workers: Number of processes that load the images.
        seed: Seed of the draw.

    Raises:
        ValueError: If the data set has fewer images.
    """
    images = DATASETS.build(dict(dataset))
    check_int('calibration.num_images', num_images, 1, len(images))
    chosen = Subset(images, random.Random(seed).sample(range(len(images)), num_images))
    loader = DataLoader(chosen, batch_size, num_workers=num_workers, collate_fn=pseudo_collate)
    # The batches are copied, since each tensor from a worker process keeps a file open, and a process may have only a
    # thousand open files.
    return [copy.deepcopy(batch) for batch in loader] if num_workers else list(loader)


@contextmanager
def calibrated(model: OneShot, batches: Iterable[Any]) -> Iterator[None]:
    """Give the active subnet the batch-norm statistics of ``batches`` within the block, and restore all afterwards."""
    with calibrated_on(model, _preprocessed(model, batches)):
        yield


@contextmanager
def calibrated_on(model: OneShot, preprocessed: Iterable[Any]) -> Iterator[None]:
    """Work as :func:`calibrated`, but on batches that the model's preprocessor has already processed."""
    kept = {name: tensor.clone() for name, tensor in model.named_buffers()}
    was_training = model.training
    model.eval()
    try:
        _calibrate_on(model, preprocessed)
        yield
    finally:
        for name, tensor in model.named_buffers():
            tensor.copy_(kept[name])
        model.train(was_training)


def calibrate(model: OneShot, batches: Iterable[Any]) -> None:
    """Replace the active subnet's batch-norm statistics by the cumulative average over ``batches``.

    Frozen norms, which stay in eval mode during training, keep theirs.
    """
    _calibrate_on(model, _preprocessed(model, batches))


def _preprocessed(model: OneShot, batches: Iterable[Any]) -> Iterator[Any]:
    return (model.data_preprocessor(batch, False) for batch in batches)


@torch.no_grad()
def _calibrate_on(model: OneShot, preprocessed: Iterable[Any]) -> None:
    learning = {norm for norm in active_norms(model.train()) if norm.training}
    norms = [norm for norm in active_norms(model.eval()) if norm in learning]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.training = True
    try:
        for data in preprocessed:
            model(data['inputs'], data.get('data_samples'), mode='tensor')
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.training = False


def active_norms(model: OneShot) -> Iterator[_BatchNorm]:
    """Yield the batch norms in a forward pass of the active subnet, those of necks and heads included."""
    shared = set(model.supernet.modules())
    rest: Iterable[nn.Module] = (module for module in model.active.modules() if module not in shared)
    for module in (*model.supernet.subnet.modules(), *rest):
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield module
