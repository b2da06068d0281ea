"""Detectors and segmentors learn eight images by heart: a finite loss alone proves nothing.

From maps in another memory order than a kernel reads, a detector still learns boxes, and its masks stay at chance.
"""

from pathlib import Path

import pytest
from mmengine.runner import Runner

from mmhybrid.apis.configs import load_config
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.models.families import FAMILIES

ROOT = Path(__file__).parents[1]
FOLDERS = [family.config_folder for family in FAMILIES.values()]
NUM_IMAGES, BATCH_SIZE, NUM_ITERS = 8, 4, 300
LOCATION = ('data_root', 'data_prefix', 'ann_file')
pytestmark = [pytest.mark.slow, pytest.mark.docs, pytest.mark.dense]


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eight images; their annotation file names no others, since mmdet's metric counts every image of its file."""
    folder = tmp_path_factory.mktemp('data') / 'demo'
    make_demo_data(folder, num_train=NUM_IMAGES, num_val=1)
    return folder


def learn_by_heart(path: str, data_root: Path, work_dir: Path) -> dict[str, float]:
    """Metrics of a demo config on its training images, after a training without augmentation, dropout and drop path."""
    cfg = load_config(str(ROOT / path), work_dir=str(work_dir))
    cfg.log_level = 'WARNING'
    cfg.model.backbone.drop_path_rate = 0.0
    for head in cfg.model.keys() & {'decode_head', 'auxiliary_head'}:
        cfg.model[head].dropout_ratio = 0.0
        cfg.optim_wrapper.optimizer.lr = 3e-3  # of a segmentor, which has fewer steps here than the demo's 400
    train, test = cfg.train_dataloader, cfg.test_dataloader
    train.dataset.update(
        data_root=str(data_root),
        indices=None,
        pipeline=[step for step in train.dataset.pipeline if not step.type.startswith(('Random', 'PhotoMetric'))],
    )
    test.dataset.update({name: train.dataset[name] for name in LOCATION if name in train.dataset})
    for loader in (train, test):
        loader.update(num_workers=0, persistent_workers=False)
    train.batch_size = BATCH_SIZE
    if 'ann_file' in cfg.test_evaluator:
        cfg.test_evaluator.ann_file = str(data_root / train.dataset.ann_file)
    by_epoch = 'max_epochs' in cfg.train_cfg
    length = NUM_ITERS * BATCH_SIZE // NUM_IMAGES if by_epoch else NUM_ITERS
    cfg.train_cfg = {'type': cfg.train_cfg.type, 'max_epochs' if by_epoch else 'max_iters': length}
    cfg.param_scheduler[-1].end = length
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.interval = -1
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == NUM_ITERS
    assert len(runner.train_dataloader.dataset) == NUM_IMAGES
    return runner.test()


@pytest.mark.parametrize('family', FOLDERS)
def test_mask_rcnn(family: str, data: Path, tmp_path: Path) -> None:
    metrics = learn_by_heart(f'configs/demo/{family}_det.py', data / 'coco', tmp_path)
    assert metrics['coco/bbox_mAP'] > 0.9, metrics
    assert metrics['coco/segm_mAP'] > 0.7, metrics


@pytest.mark.parametrize('family', FOLDERS)
def test_retinanet(family: str, data: Path, tmp_path: Path) -> None:
    metrics = learn_by_heart(f'configs/demo/{family}_retinanet.py', data / 'coco', tmp_path)
    assert metrics['coco/bbox_mAP'] > 0.9, metrics


@pytest.mark.parametrize('family', FOLDERS)
def test_upernet(family: str, data: Path, tmp_path: Path) -> None:
    metrics = learn_by_heart(f'configs/demo/{family}_seg.py', data / 'ade', tmp_path)
    assert metrics['mIoU'] > 80, metrics
