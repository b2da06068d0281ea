"""A search over whole detectors: backbone, neck and head chosen at once, and what is taken out of it, on scenes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.fronts import export_front
from mmhybrid.apis.searching import search
from mmhybrid.apis.taking_out import build_supernet
from mmhybrid.apis.testing import evaluate
from mmhybrid.apis.training import train
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.registry import MODELS
from mmhybrid.search import SearchResult

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/glnet/supernet_rtmdet_glnet_small_whole_own.py'
SIZE = 64
EPOCHS = 60


def small(data: Path, work_dir: Path) -> Config:
    """The shipped recipe on sixteen scenes that it learns and is judged on, and a search of six networks."""
    options: dict[str, Any] = {'data_root': str(data), 'scale': (SIZE, SIZE)}
    cfg = load_config(str(ROOT / CONFIG), options, work_dir=str(work_dir))
    cfg.model.architecture.backbone.init_cfg = None
    learnt = {'ann_file': 'annotations/instances_train2017.json', 'data_prefix': {'img': 'train2017/'}}
    cfg.train_dataloader.dataset.dataset.update(learnt)
    cfg.val_dataloader.dataset.update(learnt, indices=16)
    for part in (cfg.val_cfg, cfg.search_cfg):
        part.calibration.dataset.update(learnt)
        part.calibration.num_images = 16
    cfg.val_evaluator.ann_file = str(data / learnt['ann_file'])
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.pipeline = cfg.train_dataloader.dataset.pipeline[1:]  # no mosaic
    cfg.train_cfg.update(max_epochs=EPOCHS, val_interval=100)
    cfg.param_scheduler[-1].end = EPOCHS
    cfg.search_cfg.update(
        latency_table=None,
        objectives=[{'name': 'coco/bbox_mAP'}, {'name': 'macs_m', 'direction': 'minimize'}],
    )
    cfg.search_cfg.stages = {'random': {'sampler': {'type': 'RandomSampler'}, 'budget': 6, 'population': 6}}
    return cfg


def test_its_scores_are_those_of_plain_detectors(tmp_path: Path) -> None:
    data = tmp_path / 'data'
    make_demo_data(data, num_train=16, num_val=4, size=SIZE, seed=0)
    train(small(data / 'coco', tmp_path / 'train'))
    checkpoint = str(tmp_path / f'train/epoch_{EPOCHS}.pth')
    cfg = small(data / 'coco', tmp_path / 'search')
    result = search(small(data / 'coco', tmp_path / 'search'), checkpoint)
    assert isinstance(result, SearchResult)
    sizes = {(c.arch['neck.out_channels'], c.arch['bbox_head.stacked_convs']) for c in result.evaluated}
    assert len(sizes) > 2
    best = json.loads((tmp_path / 'search/best_arch.json').read_text())
    assert best['space']['type'] == 'WholeModelSpace'
    exported = list(export_front(build_supernet(cfg, checkpoint), cfg, result, tmp_path / 'front'))
    assert len(exported) > 1
    for found in exported:
        arch, folder = found.candidate.arch, tmp_path / 'front' / found.name
        written = load_config(str(folder / f'{found.name}.py'), work_dir=str(folder / 'test'))
        width = arch['neck.out_channels']
        assert written.model.neck.out_channels == written.model.bbox_head.in_channels == width
        assert written.model.bbox_head.feat_channels == arch['bbox_head.feat_channels']
        assert written.model.bbox_head.stacked_convs == arch['bbox_head.stacked_convs']
        network = MODELS.build({**written.model, '_scope_': 'mmdet'})
        weights = torch.load(folder / f'{found.name}.pth', weights_only=True)['state_dict']
        assert network.load_state_dict(weights) is not None
        counted = count_complexity(network, (3, SIZE, SIZE))
        estimates = found.candidate.estimates
        assert (estimates['params_m'], estimates['macs_m']) == (counted.params / 1e6, counted.macs / 1e6)
        written.load_from = str(folder / f'{found.name}.pth')
        written.test_dataloader, written.test_evaluator = written.val_dataloader, written.val_evaluator
        metrics = evaluate(written)
        assert metrics['coco/bbox_mAP'] == (found.candidate.metrics or {})['coco/bbox_mAP'] > 0
