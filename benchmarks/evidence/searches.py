"""The judge that searches: half of the images that are held out judge the search, the other half what it finds."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from evidence.judges import METRIC, calibration_of, subnet_evaluator
from mmhybrid.apis.searching import search
from mmhybrid.search import SearchResult


@dataclass(frozen=True)
class Search:
    """Top-1 of the best network that a search finds in a supernet, on images that the search has not seen.

    Args:
        stages: As of SearchLoop.
        constraints: As of SearchLoop.
    """

    stages: Mapping[str, Any]
    constraints: Mapping[str, Any]

    def score(self, cfg: Config, weights: str) -> float:
        """See :class:`Judge`."""
        images = hold_out_of_search(cfg)
        best = searched(cfg, weights, images, self.stages, self.constraints).best.arch
        return subnet_evaluator(cfg, weights)(best)[METRIC]


def searched(
    cfg: Config, weights: str, images: Mapping[str, Any], stages: Mapping[str, Any], constraints: Mapping[str, Any]
) -> SearchResult:
    """What a search for top-1 over the supernet in a file finds; it goes on where it was interrupted.

    Args:
        cfg: Of the supernet.
        weights: The file.
        images: That judge the search, a loader.
        stages: As of SearchLoop.
        constraints: As of SearchLoop.
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
        'input_size': cfg.test_dataloader.dataset.pipeline[-2].crop_size,
    }
    return search(cfg, weights, resume=True)


def hold_out_of_search(cfg: Config) -> dict[str, Any]:
    """Test on every second one of the images that are held out, and return a loader of the others, for a search."""
    dataset = cfg.test_dataloader.dataset
    count = len(DATASETS.build(dict(dataset)))
    searching = {**cfg.test_dataloader, 'dataset': {**dataset, 'indices': list(range(0, count, 2))}}
    dataset.indices = list(range(1, count, 2))
    return searching
