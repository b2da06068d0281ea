"""Training, test and search look at the annotation files of a config before they build what reads them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from torch import nn

from mmhybrid.apis import testing, training
from mmhybrid.apis.annotation_files import SEARCH, TEST, TRAINING, check_annotation_files
from mmhybrid.apis.searching import build_search
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.datasets.demo_data import make_demo_data

pytestmark = pytest.mark.dense
FILE = 'annotations/instances_val2017.json'
BILLION = 10**9


@MODELS.register_module()
class FindsMasks(BaseModel):
    """A detector that finds nothing of an image but empty masks."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor') -> Any:
        if mode == 'loss':
            return {'loss': self.weight}
        for sample in data_samples:
            found = sample.gt_instances
            sample.pred_instances = type(found)(
                bboxes=found.bboxes,
                labels=found.labels,
                scores=torch.ones(len(found)),
                masks=torch.zeros(len(found), *sample.ori_shape, dtype=torch.bool),
            )
        return data_samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_demo_data(tmp_path / 'demo', num_train=1, num_val=2, size=64)
    return tmp_path / 'demo' / 'coco'


def config(folder: Path, work_dir: Path) -> Config:
    pipeline = [
        {'type': 'LoadImageFromFile'},
        {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
        {'type': 'PackDetInputs', 'meta_keys': ('img_id', 'ori_shape', 'img_shape')},
    ]
    dataset = {
        'type': 'CocoDataset',
        'data_root': str(folder),
        'ann_file': FILE,
        'data_prefix': {'img': 'val2017/'},
        'metainfo': {'classes': ('bar', 'crescent', 'cross', 'disc', 'ring', 'square', 'star', 'triangle')},
        'test_mode': True,
        'pipeline': pipeline,
    }
    loader = {'batch_size': 1, 'num_workers': 0, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}}
    repeated = {'type': 'RepeatDataset', 'times': 2, 'dataset': dataset}
    evaluator = {'type': 'CocoMetric', 'ann_file': str(folder / FILE), 'metric': ['bbox', 'segm']}
    return Config(
        {
            'default_scope': 'mmdet',
            'model': {'type': 'mmengine.FindsMasks', 'data_preprocessor': None},
            'train_dataloader': {**loader, 'dataset': repeated, 'collate_fn': {'type': 'pseudo_collate'}},
            'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 4, 'val_interval': 4},
            'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.0}},
            **{f'{split}_dataloader': {**loader, 'dataset': dataset} for split in ('val', 'test')},
            **{f'{split}_evaluator': evaluator for split in ('val', 'test')},
            'val_cfg': {},
            'test_cfg': {},
            'work_dir': str(work_dir),
            'log_level': 'WARNING',
        }
    )


def train(cfg: Config) -> None:
    training.train(cfg)


def evaluate(cfg: Config) -> None:
    cfg.load_from = str(Path(cfg.work_dir) / 'weights.pth')
    torch.save(FindsMasks().state_dict(), cfg.load_from)
    testing.evaluate(cfg)


def change(path: Path, **keys: Any) -> None:
    """Give the first annotation, and its image, other values."""
    content = json.loads(path.read_text())
    annotation = content['annotations'][0]
    image = next(image for image in content['images'] if image['id'] == annotation['image_id'])
    for name, value in keys.items():
        (image if name in image and name != 'id' else annotation)[name] = value
    path.write_text(json.dumps(content))


RUNS: list[Callable[[Config], None]] = [train, evaluate]
HUGE = {'size': [BILLION, BILLION], 'counts': 'oooooo0'}


@pytest.mark.parametrize('run', RUNS)
def test_a_valid_file_is_read(folder: Path, tmp_path: Path, run: Callable[[Config], None]) -> None:
    run(config(folder, tmp_path))


@pytest.mark.parametrize('run', RUNS)
@pytest.mark.parametrize(
    ('keys', 'sentence'),
    [
        ({'segmentation': HUGE}, r'segmentation.size: got \[1000000000, 1000000000\], allowed: \[64, 64\]'),
        ({'height': BILLION, 'width': BILLION, 'segmentation': [[0, 0, 1e9, 0, 1e9, 1e9]]}, 'at most 134217728 pixels'),
        ({'segmentation': [[0, 0, 1e9, 0, 1e9, 1e9]]}, 'got 1000000000.0, allowed: numbers from -64 to 128'),
        ({'category_id': '3'}, "category_id: got '3'"),
    ],
)
def test_a_hostile_file_ends_before_a_runner_is_built(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    run: Callable[[Config], None],
    keys: dict[str, Any],
    sentence: str,
) -> None:
    change(folder / FILE, **keys)
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: pytest.fail('a runner was built'))
    with pytest.raises(SystemExit) as ended, ending_on_mistakes():
        run(config(folder, tmp_path))
    assert ended.value.code == 2
    [told] = capsys.readouterr().err.splitlines()
    assert told.startswith(str(folder / FILE))
    assert re.search(sentence, told)


def test_each_part_of_a_config_is_looked_at(folder: Path, tmp_path: Path) -> None:
    """Data sets within wrappers, evaluators in lists, and what a search calibrates with."""
    cfg = config(folder, tmp_path)
    cfg.search_cfg = {'type': 'mmhybrid.SearchLoop', 'calibration': {'dataset': cfg.val_dataloader.dataset}}
    change(folder / FILE, area=None)
    for sections in (TRAINING, TEST, SEARCH):
        with pytest.raises(ValueError, match='area: got None'):
            check_annotation_files(cfg, sections)
    for section in ('train_dataloader', 'val_evaluator', 'test_dataloader', 'search_cfg'):
        with pytest.raises(ValueError, match='area: got None'):
            check_annotation_files(Config({section: cfg[section], 'default_scope': 'mmdet'}), (section,))
    several = Config({'val_evaluator': [{'type': 'mmdet.DumpDetResults'}, cfg.val_evaluator], 'default_scope': 'mmdet'})
    with pytest.raises(ValueError, match='area: got None'):
        check_annotation_files(several, TRAINING)


def test_a_search_looks_first(folder: Path, tmp_path: Path) -> None:
    cfg = config(folder, tmp_path)
    cfg.search_cfg = {'type': 'mmhybrid.SearchLoop', 'calibration': {}}
    change(folder / FILE, area=None)
    with pytest.raises(ValueError, match='area: got None'):
        build_search(cfg, 'no.pth')


def test_what_an_evaluation_reads_is_needed_there_only(folder: Path, tmp_path: Path) -> None:
    change(folder / FILE, segmentation=None)
    cfg = config(folder, tmp_path)
    with pytest.raises(ValueError, match='segmentation: got None, allowed: a value, which the evaluation reads'):
        check_annotation_files(cfg, TEST)
    cfg.test_evaluator.metric = 'bbox'
    check_annotation_files(cfg, TEST)


def test_other_formats_and_files_that_are_not_there_are_left_alone(folder: Path, tmp_path: Path) -> None:
    (folder / 'names.json').write_text('{}')
    here = {'data_root': str(folder), 'ann_file': 'names.json'}
    kinds = ('mmdet.CocoPanopticDataset', 'mmdet.LVISV1Dataset', 'mmdet.RefCocoDataset', 'mmpretrain.ImageNet', 'none')
    datasets = [{'type': kind, **here} for kind in kinds]
    cfg = Config({'train_dataloader': {'dataset': {'type': 'ConcatDataset', 'datasets': datasets}}})
    check_annotation_files(cfg, TRAINING)
    missing = {'type': 'CocoDataset', **here, 'ann_file': 'missing.json'}
    check_annotation_files(Config({'default_scope': 'mmdet', 'val_dataloader': {'dataset': missing}}), TRAINING)


def test_a_data_set_made_from_coco_is_looked_at(folder: Path) -> None:
    from mmdet.datasets import CocoDataset

    class OwnBoxes(CocoDataset):
        """A user's."""

    DATASETS.register_module(module=OwnBoxes, force=True)
    change(folder / FILE, area=None)
    for kind in (OwnBoxes, 'mmengine.OwnBoxes', 'OwnBoxes', 'mmdet.CityscapesDataset'):
        dataset = {'type': kind, 'data_root': str(folder), 'ann_file': FILE}
        with pytest.raises(ValueError, match='area: got None'):
            check_annotation_files(Config({'train_dataloader': {'dataset': dataset}}), TRAINING)
