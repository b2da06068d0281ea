"""Bootstrap confidence intervals of the box AP of exported networks, over the validation images."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.testing import evaluate
from mmhybrid.engine.box_precision import BoxPrecision, precisions_on_samples
from mmhybrid.search.intervals import FrontIntervals, ScoreInterval
from mmhybrid.utils.checks import bad_value, check_int

METRIC = 'coco/bbox_mAP'
DRAWS = 1000


def check_counts_boxes(cfg: Config) -> None:
    """Raise ValueError unless a config's validation computes box AP from an annotation file in COCO's format."""
    evaluator = cfg.get('val_evaluator')
    kind = evaluator.get('type') if isinstance(evaluator, dict) else evaluator
    metrics = evaluator.get('metric', 'bbox') if isinstance(evaluator, dict) else None
    if str(kind).removeprefix('mmdet.') != 'CocoMetric' or metrics not in ('bbox', ['bbox']):
        raise bad_value('--intervals: val_evaluator', kind, "a CocoMetric with metric='bbox'")
    if evaluator.get('ann_file') is None:
        raise bad_value('--intervals: val_evaluator.ann_file', None, 'an annotation file')


def box_intervals(configs: Sequence[Path], draws: int = DRAWS, seed: int = 0) -> FrontIntervals:
    """Return 95 % intervals of the box AP of each network, and of its lead over the next network on the same images.

    Args:
        configs: Configs that :func:`mmhybrid.apis.network_files.write_network` wrote, with the weights beside them, in
            the order of a front.
        draws: Number of bootstrap samples of the images.
        seed: Seed of the samples.

    Raises:
        ValueError: If there is no network, :func:`check_counts_boxes` refuses a config, or a network detects nothing.
    """
    check_int('draws', draws, 1)
    if not configs:
        raise bad_value('configs', [], 'at least one network')
    networks = [_judged(config) for config in configs]
    samples = precisions_on_samples(networks, draws, seed)
    whole = np.arange(networks[0].num_images)
    ends = np.quantile(samples, (0.025, 0.975), axis=0).T
    leads = [*np.quantile(samples[:, :-1] - samples[:, 1:], (0.025, 0.975), axis=0).T.tolist(), (0.0, 0.0)]
    intervals = [
        ScoreInterval(config.stem, network.on(whole), float(low), float(high), *map(float, lead))
        for config, network, (low, high), lead in zip(configs, networks, ends, leads, strict=True)
    ]
    return FrontIntervals(METRIC, len(whole), draws, intervals)


def _judged(config: Path) -> BoxPrecision:
    """Detect objects in the validation images of a network, and return the computation of their AP."""
    cfg = load_config(str(config))
    check_counts_boxes(cfg)
    with tempfile.TemporaryDirectory() as folder:
        cfg.load_from, cfg.work_dir = str(config.with_suffix('.pth')), folder
        # a visualizer named after the config would stay for the next network, and write into this folder
        cfg.visualizer = {'type': 'mmengine.Visualizer', 'name': folder}
        evaluator = {**cfg.val_evaluator, 'outfile_prefix': f'{folder}/found'}
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, evaluator
        evaluate(cfg)
        boxes = Path(folder, 'found.bbox.json')
        if not boxes.is_file() or boxes.read_text() == '[]':
            raise ValueError(f'{config}: the network detects nothing in its validation images')
        classes = (cfg.val_dataloader.dataset.get('metainfo') or {}).get('classes')
        return BoxPrecision(evaluator['ann_file'], str(boxes), classes)
