"""Judges: ways to score a trained network other than by its top-1 as it was trained. An arm names one.

A judge is a frozen dataclass of plain data, which identifies it, with a method ``score``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmhybrid.apis.testing import evaluate
from mmhybrid.apis.weights import load_weights
from mmhybrid.engine.bn_calibration import calibration_batches
from mmhybrid.engine.kept_batches import KEEP_IMAGES_MB
from mmhybrid.engine.ranks import UntrainedRunner
from mmhybrid.engine.subnet_evaluator import SubnetEvaluator, supernet_of
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.space import Arch, SearchSpace

METRIC = 'accuracy/top1'
# The metric by which the networks of a host are scored, and the factor that makes it percent.
METRICS = {'mmpretrain': (METRIC, 1), 'mmseg': ('mIoU', 1), 'mmdet': ('coco/bbox_mAP', 100)}
CALIBRATION = 512  # number of training images for batch-norm statistics


class Judge(Protocol):
    """Scores a trained network; a frozen dataclass, whose fields are written to the file of the study."""

    def score(self, cfg: Config, weights: str) -> float:
        """The score in percent of what ``cfg`` has trained, whose weights are in the file ``weights``."""


@dataclass(frozen=True)
class OtherSettings:
    """Top-1 of the trained weights in a network that differs in settings without weights.

    Args:
        options: Settings that replace those of the arm, by dotted names.
    """

    options: Mapping[str, Any]

    def score(self, cfg: Config, weights: str) -> float:
        """See :class:`Judge`."""
        cfg.merge_from_dict(dict(self.options))
        return score_of(cfg, weights)


@dataclass(frozen=True)
class Subnets:
    """Mean top-1 of subnets of a supernet, each with batch-norm statistics of its own.

    Args:
        archs: Architectures as :meth:`SearchSpace.encode` takes them, or ``smallest``, ``middle`` (the middle value of
            each gene) and ``largest``.
    """

    archs: Sequence[str | Mapping[str, Any]]

    def score(self, cfg: Config, weights: str) -> float:
        """See :class:`Judge`."""
        judge = subnet_evaluator(cfg, weights)
        return fmean(judge(subnet(judge.model.space, arch))[METRIC] for arch in self.archs)


def subnet(space: SearchSpace, arch: str | Mapping[str, Any]) -> Arch:
    """The genes of an architecture as :class:`Subnets` takes it."""
    named = {
        'smallest': space.smallest,
        'middle': lambda: space.walk(lambda _, values: values[len(values) // 2]),
        'largest': space.largest,
    }
    return named[arch]() if isinstance(arch, str) else space.encode(arch)


def subnet_evaluator(cfg: Config, weights: str) -> SubnetEvaluator:
    """An evaluator of subnets of the supernet whose weights are in a file, on the held-out images."""
    runner = UntrainedRunner.from_cfg(cfg)
    load_weights(runner.model, read_checkpoint(weights), weights)
    judged = cfg.test_dataloader
    return SubnetEvaluator(
        supernet_of(runner),
        DATASETS.build(dict(judged.dataset)),
        runner.build_evaluator(cfg.test_evaluator),
        calibration_batches(**calibration_of(cfg)),
        judged.batch_size,
        judged.num_workers,
        KEEP_IMAGES_MB,
    )


def calibration_of(cfg: Config) -> dict[str, Any]:
    """Arguments of :func:`calibration_batches`: the training images for a subnet's batch-norm statistics."""
    dataset = {**cfg.train_dataloader.dataset, 'pipeline': cfg.test_dataloader.dataset.pipeline}
    return {'dataset': dataset, 'num_images': min(CALIBRATION, len(DATASETS.build(dict(dataset))))}


def image_size(cfg: Config) -> tuple[int, int]:
    """Height and width of the images that networks are judged on, in pixels."""
    if 'image_size' in cfg:
        height, width = cfg.image_size
        return height, width
    side: int = cfg.test_dataloader.dataset.pipeline[-2].crop_size
    return side, side


def metric_of(cfg: Config) -> tuple[str, int]:
    """The metric by which the networks of a config are scored, and the factor that makes it percent."""
    return METRICS[cfg.default_scope]


def score_of(cfg: Config, weights: str) -> float:
    """The score on the held-out images, in percent."""
    cfg.load_from = weights
    name, percent = metric_of(cfg)
    return percent * float(evaluate(cfg)[name])
