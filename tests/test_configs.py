"""Every config trains one iteration and validates one batch on a small generated data set."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhybrid.apis.configs import load_config
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.datasets.demo_shapes import CLASSES, SEGMENTATION_CLASSES
from mmhybrid.datasets.label_maps import label_map_path, top_classes, write_label_map
from mmhybrid.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
# the rest, some of them large, is left to the slow suite
QUICK = {
    'configs/autovit/autovit_s_cifar10.py',
    'configs/autovit/autovit_s_in1k.py',
    'configs/autovit/mask-rcnn_autovit_xxs_coco-subset.py',
    'configs/autovit/supernet_autovit_xxs_hard-regnety_in1k.py',
    'configs/demo/autovit_supernet.py',
    'configs/demo/glit_cls.py',
    'configs/demo/glit_seg.py',
    'configs/demo/glit_supernet.py',
    'configs/demo/glnet_det.py',
    'configs/demo/glnet_rtmdet_supernet.py',
    'configs/demo/glnet_supernet.py',
    'configs/demo/efficientnet-lite_det.py',
    'configs/demo/efficientnet-lite_supernet.py',
    'configs/efficientnet-lite/efficientnet-lite0_in1k.py',
    'configs/efficientnet-lite/supernet_efficientnet-lite0_imagenette.py',
    'configs/glit/glit_tiny_conv2d-3_in1k.py',
    'configs/glit/glit_tiny_in1k.py',
    'configs/glit/retinanet_glit_tiny_1x_coco.py',
    'configs/glnet/glnet-small_1xb64-features-lite0_imagenette.py',
    'configs/glnet/glnet-small_1xb64-soft-lite0_imagenette.py',
    'configs/glnet/glnet_4g_in1k.py',
    'configs/glnet/glnet_4g_token-label_in1k.py',
    'configs/glnet/upernet_glnet_small_camvid.py',
}
# heads of 80 classes stay as they are
COCO_NAMES = (*CLASSES, *(f'absent{i}' for i in range(len(CLASSES), 80)))
SEGMENTATION = {
    'type': 'BaseSegDataset',
    'metainfo': {'classes': SEGMENTATION_CLASSES, 'palette': [[i, i, i] for i in range(len(SEGMENTATION_CLASSES))]},
    'img_suffix': '.jpg',
    'seg_map_suffix': '.png',
    'reduce_zero_label': True,
}


@pytest.fixture(scope='module')
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('data') / 'demo'
    make_demo_data(folder, num_train=8, num_val=4, size=64, seed=0)
    for split in ('train', 'val'):
        path = folder / f'coco/annotations/instances_{split}2017.json'
        annotations = json.loads(path.read_text())
        annotations['categories'] += [{'id': 9 + i, 'name': name} for i, name in enumerate(COCO_NAMES[8:])]
        path.write_text(json.dumps(annotations))
    for image in (folder / 'imagenet/train').glob('*/*'):
        write_label_map(label_map_path(folder / 'label_maps', image), top_classes(torch.randn(1000, 7, 7), 5))
    return folder


def shrink(cfg: Config, data: Path, work_dir: Path) -> Config:
    """The config on the demo data, two images a batch, one iteration, one batch of validation."""
    point_to = {'mmpretrain': _classification, 'mmdet': _detection, 'mmseg': _segmentation}[cfg.default_scope]
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        if loader is None:  # of images without labels
            continue
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        dataset = loader.dataset.get('dataset', loader.dataset)  # which mosaics are made of
        point_to(dataset, 'train' if split == 'train' else 'val', data)
        dataset.indices = 2
        _shrink_images(loader.dataset.pipeline)
        if split != 'train' and cfg.default_scope == 'mmdet':
            annotations = str(data / 'coco/annotations/instances_val2017.json')
            cfg[f'{split}_evaluator'].ann_file = annotations
    if 'calibration' in (cfg.val_cfg or {}):
        cfg.val_cfg.calibration.update(num_images=2, num_workers=0)
        cfg.val_cfg.num_random = 1
        point_to(cfg.val_cfg.calibration.dataset, 'train', data)
    if cfg.model.type == 'mmhybrid.OneShot' and cfg.model.architecture.backbone.space.get('level') == 'flat':
        cfg.model.architecture.backbone.space.num_blocks = 2  # single paths of twelve take gigabytes
    if cfg.model.type == 'mmhybrid.OneShot' and cfg.model.architecture.backbone.get('init_cfg') is not None:
        cfg.model.architecture.backbone.init_cfg.checkpoint = save_network(cfg.model.architecture.backbone, work_dir)
    if 'teacher' in cfg.model:
        cfg.model.teacher = {**save_teacher(work_dir), 'classes': cfg.model.teacher.get('classes')}
    cfg.train_cfg.val_interval = 1
    cfg.model.pop('pretrained', None)
    cfg.work_dir = str(work_dir)
    cfg.log_level = 'WARNING'
    return cfg


def save_network(supernet: Config, folder: Path) -> str:
    """The network that a supernet begins as, weights at random."""
    network = MODELS.build({**supernet.backbone, 'arch': supernet.init_cfg.arch})
    torch.save(network.state_dict(), folder / 'network.pth')
    return str(folder / 'network.pth')


def save_teacher(folder: Path) -> dict[str, str]:
    """A small classifier of 1000 classes in place of a teacher."""
    model = {
        'type': 'ImageClassifier',
        'backbone': {'type': 'mmhybrid.AutoViT', 'arch': 'xxs'},
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 1000, 'in_channels': 480},
    }
    (folder / 'teacher.py').write_text(f'model = {model}')
    torch.save(MODELS.build({**model, '_scope_': 'mmpretrain'}).state_dict(), folder / 'teacher.pth')
    return {'config': str(folder / 'teacher.py'), 'checkpoint': str(folder / 'teacher.pth')}


def _classification(dataset: Config, split: str, data: Path) -> None:
    if dataset.type not in (
        'CustomDataset',
        'mmhybrid.ImageNetFolders',
    ):  # test_finetuning_configs.py has these in their own layout
        dataset.pop('split')
        if dataset.pipeline[0].type != 'LoadImageFromFile':
            dataset.pipeline.insert(0, {'type': 'LoadImageFromFile'})
    dataset.update(type='mmhybrid.ImageNetFolders', data_root=str(data / 'imagenet'), data_prefix=split, ann_file='')
    for transform in dataset.pipeline:
        if transform['type'] == 'mmhybrid.LoadLabelMap':
            transform['root'] = str(data / 'label_maps')


def _detection(dataset: Config, split: str, data: Path) -> None:
    dataset.update(data_root=str(data / 'coco'), ann_file=f'annotations/instances_{split}2017.json')
    dataset.update(
        data_prefix={'img': f'{split}2017/'}, metainfo={'classes': COCO_NAMES}, filter_cfg={'filter_empty_gt': True}
    )


def _segmentation(dataset: Config, split: str, data: Path) -> None:
    folder = 'training' if split == 'train' else 'validation'
    prefixes = {'img_path': f'images/{folder}', 'seg_map_path': f'annotations/{folder}'}
    dataset.update(SEGMENTATION, data_root=str(data / 'ade'), data_prefix=prefixes)


def _shrink_images(pipeline: list) -> None:
    """Images of dense prediction shall be no larger than needed."""
    for transform in pipeline:
        if transform['type'] in ('Resize', 'RandomResize'):
            is_range = isinstance(transform['scale'], list)
            transform['scale'] = [(128, 128), (128, 128)] if is_range else (128, 128)
        elif transform['type'] == 'RandomCrop':
            transform['crop_size'] = (128, 128)


class StopAfterOneIteration(Hook):
    """The schedule stays that of the config."""

    has_validated = False

    def after_val_epoch(self, *_: object, **__: object) -> None:
        self.has_validated = True

    def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        runner.train_loop.stop_training = True


def params() -> list:
    """Searches train what their supernet's config trains; test_search_configs.py has the rest."""
    trained = [path for path in CONFIGS if 'search' not in Path(path).name]
    return [pytest.param(path, marks=() if path in QUICK else pytest.mark.slow) for path in trained]


def test_quick_ones_exist() -> None:
    assert set(CONFIGS) >= QUICK


@pytest.mark.parametrize('path', CONFIGS)
def test_docstring(path: str) -> None:
    """A leaf config says its command, and unless it is a demo its source and the published result."""
    text = (ROOT / path).read_text()
    docstring = text.split('"""')[1]
    assert path in docstring
    if 'demo' not in path:
        assert '\nSource: ' in docstring
        assert '\nPublished: ' in docstring


SUPERNETS = [path for path in CONFIGS if 'supernet' in path or 'search' in path]


@pytest.mark.parametrize('path', SUPERNETS)
def test_supernets_train_on_several_processes(path: str) -> None:
    """A subnet leaves most weights out, which DistributedDataParallel takes for an error unless told."""
    cfg = load_config(str(ROOT / path))
    assert cfg.model.type == 'mmhybrid.OneShot'
    assert cfg.find_unused_parameters is True


def test_other_models_use_all_their_weights() -> None:
    others = [load_config(str(ROOT / path)) for path in CONFIGS if path not in SUPERNETS]
    assert others
    assert not any(cfg.model.type == 'mmhybrid.OneShot' for cfg in others)


@pytest.mark.dense
@pytest.mark.parametrize('path', params())
def test_trains(path: str, demo_data: Path, tmp_path: Path) -> None:
    runner = Runner.from_cfg(shrink(load_config(str(ROOT / path)), demo_data, tmp_path))
    hook = StopAfterOneIteration()
    runner.register_hook(hook)
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 1
    assert 0 < losses[0] < 1e4
    assert hook.has_validated == (runner.val_loop is not None)
