"""A score on part of a data set is that part's: MMDetection's metrics count every image of their annotation file."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn

from mmhybrid.apis.testing import evaluate
from mmhybrid.apis.training import train
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.engine import subnet_evaluator
from mmhybrid.space import Arch

pytestmark = pytest.mark.dense
NUM_IMAGES, NUM_SHOWN = 6, 2
CLASSES = ('bar', 'crescent', 'cross', 'disc', 'ring', 'square', 'star', 'triangle')


@MODELS.register_module()
class EveryOtherBox(BaseModel):
    """A detector that finds the boxes of an image, all or, with ``share`` 2, every second one."""

    def __init__(self, share: int = 1, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor)
        self.weight = nn.Parameter(torch.zeros(()))
        self.share = share

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor') -> Any:
        if mode == 'loss':
            return {'loss': self.weight}
        for sample in data_samples:
            found = sample.gt_instances[:: self.share]
            sample.pred_instances = type(found)(bboxes=found.bboxes, labels=found.labels, scores=torch.ones(len(found)))
        return data_samples

    def set_arch(self, arch: Any) -> None:
        """Like a supernet's, with nothing to choose."""


@HOOKS.register_module()
class KeepMetrics(Hook):
    """Appends the metrics of each validation and test to a list."""

    found: list[dict[str, float]] = []

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.found.append(metrics)

    after_test_epoch = after_val_epoch


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp('data') / 'demo'
    make_demo_data(data, num_train=1, num_val=NUM_IMAGES, size=64)
    whole = json.loads(annotations(data / 'coco').read_text())
    shown = {image['id'] for image in whole['images'][:NUM_SHOWN]}
    images = [image for image in whole['images'] if image['id'] in shown]
    boxes = [box for box in whole['annotations'] if box['image_id'] in shown]
    (data / 'coco/part.json').write_text(json.dumps({**whole, 'images': images, 'annotations': boxes}))
    return data / 'coco'


def annotations(folder: Path) -> Path:
    return folder / 'annotations/instances_val2017.json'


def config(folder: Path, work_dir: Path, indices: int | None, share: int = 1, ann_file: Path | None = None) -> Config:
    pipeline = [
        {'type': 'LoadImageFromFile'},
        {'type': 'LoadAnnotations', 'with_bbox': True},
        {'type': 'PackDetInputs', 'meta_keys': ('img_id', 'ori_shape', 'img_shape')},
    ]
    dataset = {
        'type': 'CocoDataset',
        'data_root': str(folder),
        'ann_file': 'annotations/instances_val2017.json',
        'data_prefix': {'img': 'val2017/'},
        'metainfo': {'classes': CLASSES},
        'indices': indices,
        'test_mode': True,
        'pipeline': pipeline,
    }
    loader = {'dataset': dataset, 'batch_size': 1, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}}
    evaluator = {'type': 'CocoMetric', 'ann_file': str(ann_file or annotations(folder)), 'metric': 'bbox'}
    return Config(
        {
            'default_scope': 'mmdet',
            'model': {'type': 'mmengine.EveryOtherBox', 'share': share, 'data_preprocessor': None},
            'train_dataloader': {**loader, 'collate_fn': {'type': 'pseudo_collate'}},
            'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 1, 'val_interval': 1},
            'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.0}},
            **{f'{split}_dataloader': loader for split in ('val', 'test')},
            **{f'{split}_evaluator': evaluator for split in ('val', 'test')},
            'val_cfg': {},
            'test_cfg': {},
            'custom_hooks': [{'type': 'mmengine.KeepMetrics'}],
            'work_dir': str(work_dir),
            'log_level': 'WARNING',
        }
    )


def in_test_tool(cfg: Config) -> dict[str, float]:
    """Metrics of tools/test.py."""
    cfg.load_from = str(Path(cfg.work_dir) / 'weights.pth')
    torch.save(EveryOtherBox().state_dict(), cfg.load_from)
    evaluate(cfg)
    return KeepMetrics.found.pop()


def in_training(cfg: Config) -> dict[str, float]:
    """Metrics of the validation in tools/train.py."""
    train(cfg)
    return KeepMetrics.found.pop()


def in_search(cfg: Config) -> dict[str, float]:
    """Metrics of a candidate in tools/search.py."""
    evaluator = Evaluator({**cfg.val_evaluator, '_scope_': 'mmdet'})
    dataset = DATASETS.build({**cfg.val_dataloader.dataset, '_scope_': 'mmdet'})
    with patch.object(subnet_evaluator, 'calibrated_on', lambda *_: nullcontext()):  # there are no norms
        model = EveryOtherBox(cfg.model.share)
        return subnet_evaluator.SubnetEvaluator(model, dataset, evaluator, [], 1, 0, 16)(Arch({}))


WAYS = pytest.mark.parametrize('metrics_of', [in_test_tool, in_training, in_search])


@WAYS
def test_all_boxes_of_the_shown_images_are_a_full_score(metrics_of: Any, folder: Path, tmp_path: Path) -> None:
    assert metrics_of(config(folder, tmp_path, NUM_SHOWN))['coco/bbox_mAP'] == 1


@METRICS.register_module()
class WholeFile(BaseMetric):
    """A stand-in for LVISMetric, whose API is not installed: it has as many images in its file as there are."""

    img_ids = None
    _lvis_api = SimpleNamespace(get_img_ids=lambda: list(range(1, 1 + NUM_IMAGES)))

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(len(data_samples))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        return {'shown': sum(results)}


@pytest.mark.parametrize('metrics_of', [in_test_tool, in_training])
def test_a_metric_that_cannot_leave_images_out_is_refused(metrics_of: Any, folder: Path, tmp_path: Path) -> None:
    cfg = config(folder, tmp_path, NUM_SHOWN)
    cfg.val_evaluator = cfg.test_evaluator = {'type': 'mmengine.WholeFile'}
    sentence = f'ann_file of WholeFile: got .*{NUM_IMAGES - NUM_SHOWN} other images.*, allowed: .* {NUM_SHOWN} images'
    with pytest.raises(ValueError, match=sentence):
        metrics_of(cfg)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.indices = None
    assert metrics_of(cfg) == {'shown': NUM_IMAGES}


@WAYS
def test_the_score_is_that_of_a_file_of_the_shown_images(metrics_of: Any, folder: Path, tmp_path: Path) -> None:
    part = metrics_of(config(folder, tmp_path, NUM_SHOWN, share=2))
    written = config(folder, tmp_path, NUM_SHOWN, share=2, ann_file=folder / 'part.json')
    assert part == metrics_of(written)
    assert 0 < part['coco/bbox_mAP'] < 1


def test_the_score_on_all_images_is_what_the_metric_alone_gives(folder: Path, tmp_path: Path) -> None:
    cfg = config(folder, tmp_path, None, share=2)
    alone = Evaluator({**cfg.val_evaluator, '_scope_': 'mmdet'})
    dataset = DATASETS.build({**cfg.val_dataloader.dataset, '_scope_': 'mmdet'})
    alone.dataset_meta = dataset.metainfo
    for index in range(NUM_IMAGES):
        alone.process(EveryOtherBox(share=2)(None, [dataset[index]['data_samples']], 'predict'))
    assert alone.evaluate(NUM_IMAGES) == in_test_tool(cfg)
