"""Generated images in the layouts of ImageNet, COCO and ADE20K, and recipes on these that take seconds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from doc_blocks import ROOT
from mmengine.config import Config

from mmhybrid.apis.epochs import rescale_epochs
from mmhybrid.datasets.demo_data import make_demo_data

TINY = (128, 128)


def write_stand_ins(folder: Path) -> None:
    """Write ``data/imagenet``, ``data/coco`` and ``data/ade`` in ``folder``, a few small images each."""
    from mmdet.datasets import CocoDataset

    source, data = folder / 'generated', folder / 'data'
    make_demo_data(source, num_train=32, num_val=8, size=64, seed=0)
    (data / 'ade').mkdir(parents=True)
    (source / 'imagenet').rename(data / 'imagenet')
    (source / 'coco').rename(data / 'coco')
    (source / 'ade').rename(data / 'ade/ADEChallengeData2016')
    categories = [{'id': 1 + i, 'name': name} for i, name in enumerate(CocoDataset.METAINFO['classes'])]
    for path in (data / 'coco/annotations').glob('instances_*.json'):
        path.write_text(json.dumps({**json.loads(path.read_text()), 'categories': categories}))
    _write_own(source, data)
    # where a reader of GLiT's or AutoViT's part has no reason to run it before a search
    split = [str(ROOT / 'tools/split_imagenet.py'), 'data/imagenet/train', 'data/imagenet/meta']
    subprocess.run([sys.executable, *split, '--num-held-out', '8'], cwd=folder, check=True, capture_output=True)


def _write_own(source: Path, data: Path) -> None:
    """``data/photos`` and ``data/my_coco``, a reader's own, and ``data/imagenette``, of the same images."""
    for split in ('train', 'val'):
        images = sorted((data / 'coco' / f'{split}2017').glob('*.jpg'))
        for name in ('cat', 'dog', 'horse'):
            folder = data / 'photos' / split / name
            folder.mkdir(parents=True)
            shutil.copy(images[0], folder)
        for number in range(10):
            folder = data / 'imagenette' / split / f'n{number}'
            folder.mkdir(parents=True)
            shutil.copy(images[number % len(images)], folder)
        shutil.copytree(data / 'coco' / f'{split}2017', data / 'my_coco' / split)
        content = json.loads((data / 'coco/annotations' / f'instances_{split}2017.json').read_text())
        content['categories'] = [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
        content['annotations'] = [thing for thing in content['annotations'] if thing['category_id'] < 3]
        (data / f'my_coco/{split}.json').write_text(json.dumps(content))


def small(cfg: Config) -> Config:
    """A recipe with the same data set, model and loops: an epoch of a few images, a search of four."""
    cfg = cfg.copy()
    for split, count in (('train', 8), ('val', 2), ('test', 2)):
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:  # of images without labels
            continue
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.get('dataset', loader.dataset).indices = count  # mosaics are made of the images of another
        _shrink_images(loader.dataset.get('pipeline') or loader.dataset.dataset.pipeline)
    if 'size' in cfg.model.get('data_preprocessor', {}):
        cfg.model.data_preprocessor.size = TINY
    for head in cfg.model.keys() & {'decode_head', 'auxiliary_head'}:
        cfg.model[head].norm_cfg.type = 'BN'  # its synchronised kind takes GPUs
    if 'max_epochs' in cfg.train_cfg:
        rescale_epochs(cfg, 1, epoch_length=2)
    else:
        cfg.train_cfg.update(max_iters=2, val_interval=2)
        cfg.default_hooks.checkpoint.interval = 2
    for loop in (cfg.get('val_cfg', {}), cfg.get('search_cfg', {})):
        if 'calibration' in loop:
            loop.calibration.update(num_images=2, num_workers=0)
    if 'calibration' in cfg.get('val_cfg', {}):
        cfg.val_cfg.num_random = 1
    for stage in cfg.get('search_cfg', {}).get('stages', {}).values():
        _shrink_stage(stage)
    return cfg


def _shrink_images(pipeline: list[Any]) -> None:
    for transform in pipeline:
        if transform['type'] == 'RandomCrop':
            transform['crop_size'] = TINY
        elif transform['type'] in ('Resize', 'RandomResize'):
            transform['scale'] = [TINY, TINY] if isinstance(transform['scale'], list) else TINY


def _shrink_stage(stage: Any) -> None:
    stage.update(budget=4, population=4 if 'rank_by' in stage else 2)
    if 'num_parents' in stage.sampler:
        stage.sampler.num_parents = 2
    if 'skeletons' in stage:
        stage.skeletons.count = 2
