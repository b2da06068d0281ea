"""Judges that search: half of the held-out images judge the search, the other half what it finds."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from evidence.judges import METRIC, calibration_of, image_size, score_of, subnet_evaluator
from mmhybrid.apis.searching import search
from mmhybrid.apis.training import latest_checkpoint, train
from mmhybrid.archs.base import plain_arch
from mmhybrid.search import SearchResult


@dataclass(frozen=True)
class Search:
    """Top-1 of the best network that a search finds in a supernet, on images that the search has not seen.

    Args:
        stages: Stages as SearchLoop takes them.
        constraints: Constraints as SearchLoop takes them.
    """

    stages: Mapping[str, Any]
    constraints: Mapping[str, Any]

    def score(self, cfg: Config, weights: str) -> float:
        """See :class:`Judge`."""
        images = hold_out_of_search(cfg)
        best = searched(cfg, weights, images, self.stages, self.constraints).best.arch
        return subnet_evaluator(cfg, weights)(best)[METRIC]


@dataclass(frozen=True)
class Retrained:
    """Top-1 of the best network of a search after training alone, on images that took no part in choosing it.

    Args:
        stages: Stages as SearchLoop takes them.
        constraints: Constraints as SearchLoop takes them.
        count: Number of the search's best networks that are trained alone.
        epochs: Number of epochs of each of these trainings.
        hierarchical: Whether to search in two stages as GLiT does: first for the distribution of heads, in this
            supernet; then for the details of the best distribution, in a second supernet with as many epochs.
    """

    stages: Mapping[str, Any]
    constraints: Mapping[str, Any]
    count: int
    epochs: int
    hierarchical: bool = False

    def score(self, cfg: Config, weights: str) -> float:
        """See :class:`Judge`."""
        images = hold_out_of_search(cfg)
        found = searched(cfg, weights, images, self.stages, self.constraints)
        if self.hierarchical:
            cfg = _detail(cfg, found)
            weights = trained(cfg)
            found = searched(cfg, weights, images, self.stages, self.constraints)
        scores = []
        for number, candidate in enumerate(found.top(self.count)):
            network = _alone(cfg, found.settings.space.decode(candidate.arch), self.epochs)
            network.work_dir = str(Path(cfg.work_dir, f'network_{number}'))
            own = trained(network)
            choosing = copy.deepcopy(network)
            choosing.test_dataloader = images
            scores.append((score_of(choosing, own), score_of(network, own)))
        return max(scores, key=itemgetter(0))[1]


def trained(cfg: Config) -> str:
    """Train, or continue an interrupted training, and return the path of the last checkpoint."""
    cfg.resume = True
    train(copy.deepcopy(cfg))
    last = latest_checkpoint(cfg.work_dir)
    assert last is not None
    return last


def _detail(cfg: Config, found: SearchResult) -> Config:
    """The config of the second supernet: it has the best distribution of heads and leaves the details open."""
    cfg = copy.deepcopy(cfg)
    heads = [block.num_attn_heads for block in found.settings.space.decode(found.best.arch).blocks]
    cfg.model.architecture.backbone.space.update(level='detail', distribution=heads)
    cfg.model.mutator.seed = cfg.randomness.seed
    cfg.work_dir = str(Path(cfg.work_dir, 'detail'))
    return cfg


def _alone(cfg: Config, network: Any, epochs: int) -> Config:
    """The config that trains a network alone by the supernet's recipe, for ``epochs`` or the supernet's if fewer."""
    cfg = copy.deepcopy(cfg)
    backbone = {**cfg.model.architecture.backbone.backbone, 'arch': plain_arch(network)}
    cfg.model = {**cfg.model.architecture, 'backbone': backbone}
    cfg.train_cfg.max_epochs = min(epochs, cfg.train_cfg.max_epochs)
    cfg.param_scheduler[-1].end = epochs
    return cfg


def searched(
    cfg: Config,
    weights: str,
    images: Mapping[str, Any],
    stages: Mapping[str, Any],
    constraints: Mapping[str, Any],
    latency_table: str | None = None,
) -> SearchResult:
    """Search a supernet for top-1, or continue an interrupted search, and return the result.

    Args:
        cfg: Config of the supernet.
        weights: Path of its weights.
        images: Config of the data loader whose images judge the search.
        stages: Stages as SearchLoop takes them.
        constraints: Constraints as SearchLoop takes them.
        latency_table: Path of a latency table, as SearchLoop takes it.
    """
    cfg = copy.deepcopy(cfg)
    cfg.val_dataloader, cfg.val_evaluator = images, cfg.test_evaluator
    cfg.search_cfg = {
        'type': 'mmhybrid.SearchLoop',
        'stages': stages,
        'constraints': constraints,
        'objectives': [{'name': METRIC}],
        'calibration': calibration_of(cfg),
        'seed': cfg.randomness.seed,
        'input_size': image_size(cfg)[0],
        'latency_table': latency_table,
    }
    return search(cfg, weights, resume=True)


def hold_out_of_search(cfg: Config) -> dict[str, Any]:
    """Set ``cfg`` to test on every second held-out image, and return the config of a loader of the others."""
    dataset = cfg.test_dataloader.dataset
    count = len(DATASETS.build(dict(dataset)))
    searching = {**cfg.test_dataloader, 'dataset': {**dataset, 'indices': list(range(0, count, 2))}}
    dataset.indices = list(range(1, count, 2))
    return searching
