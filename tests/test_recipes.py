"""What the recipes say against the tables of the papers, and against the released code where those are silent."""

import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmhybrid.apis.configs import load_config

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT / 'configs').as_posix()
    for path in (ROOT / 'configs').rglob('*.py')
    if not {'_base_', 'demo'} & set(path.parts) and not path.name.startswith('search_')
)
DENSE = ('coco', 'ade20k', 'camvid')  # built on configs of mmdet and mmseg
EACH = pytest.mark.parametrize(
    'path',
    [pytest.param(path, marks=pytest.mark.dense if any(name in path for name in DENSE) else ()) for path in CONFIGS],
)
ADAMW = {'optimizer': 'AdamW', 'betas': (0.9, 0.999)}
AUGMENTED = {'RandAugment': (9, 0.5, 2), 'RandomErasing': 0.25}
MIXED = {'smoothing': 0.1, 'Mixup': 0.8, 'CutMix': 1.0}
COSINE = {'schedule': 'CosineAnnealingLR', 'eta_min': 1e-5, 'warm_up': 5}
GLNET = {  # table 8; the released code adds random erasing, repeated augmentation, EMA and the minimal rate
    **ADAMW, **AUGMENTED, **MIXED, **COSINE,
    'lr': 2e-3, 'weight_decay': 0.05, 'batch': 2048, 'epochs': 300, 'clip': 5.0,
    'sampler': 'RepeatAugSampler', 'EMAHook': 1e-4, 'train_size': 224, 'test_size': 256,
    'save_best': ['accuracy/top1', 'accuracy/top1_origin'],
}  # fmt: skip
TOKEN_LABELS = {  # table 9, but that the released code mixes tokens, and no images; crop ratio 0.96
    **ADAMW, **AUGMENTED, 'schedule': 'CosineAnnealingLR', 'eta_min': 1e-5,
    'lr': 2e-3, 'weight_decay': 0.05, 'batch': 2048, 'epochs': 310, 'clip': 5.0, 'drop_path': 0.1,
    'Mixup': None, 'CutMix': None, 'sampler': 'DefaultSampler', 'EMAHook': None, 'test_size': 233,
    'save_best': 'accuracy/top1',
}  # fmt: skip
DEIT = {  # DeiT, table 9
    **ADAMW, **AUGMENTED, **MIXED, **COSINE,
    'lr': 1e-3, 'weight_decay': 0.05, 'batch': 1024, 'epochs': 300, 'clip': None, 'drop_path': 0.1, 'EMAHook': None,
}  # fmt: skip
AUTOVIT = {**DEIT, 'sampler': 'DefaultSampler', 'train_size': 256, 'test_size': 288}  # section 5.1
GLIT_SUPERNET = {  # GLiT, section 4.1
    'optimizer': 'SGD', 'momentum': 0.9, 'nesterov': True, 'lr': 0.2, 'weight_decay': 1e-4, 'batch': 1024,
    'epochs': 100, 'schedule': 'CosineAnnealingLR', 'eta_min': 0.0, 'warm_up': None,
    'smoothing': 0.1, 'Mixup': None, 'CutMix': None, 'RandAugment': None, 'RandomErasing': None,
}  # fmt: skip
LITE = {  # EfficientNet, section 5.2; the released code warms up for five epochs and averages the weights
    'optimizer': 'RMSprop', 'momentum': 0.9, 'lr': 0.256, 'weight_decay': 1e-5, 'batch': 4096, 'epochs': 350,
    'schedule': 'ExponentialLR', 'warm_up': 5, 'smoothing': 0.1, 'drop_path': 0.2, 'EMAHook': 1e-4,
    'Mixup': None, 'CutMix': None, 'RandAugment': None, 'RandomErasing': None, 'clip': None,
}  # fmt: skip
# what GLNet's paper leaves open in dense prediction is as in the same author's code for BiFormer: statistics of the
# backbone's batch norms fixed in detection, synchronised in segmentation
COCO = {  # GLNet, appendix B
    **ADAMW, 'lr': 1e-4, 'batch': 16, 'warm_up': 500, 'warm_up_from': 1e-3, 'schedule': 'MultiStepLR',
    'norm_eval': True, 'sync_bn': None,
}  # fmt: skip
RETINANET, MASK_RCNN = {**COCO, 'weight_decay': 0.001}, {**COCO, 'weight_decay': 0.05}
ONCE = {'epochs': 12, 'milestones': [8, 11], 'resize': (1333, 800)}
THRICE = {'epochs': 36, 'milestones': [27, 33], 'resize': [(1333, 640), (1333, 800)]}  # of MMDetection 3.3
UPERNET = {  # Swin's, which GLNet and BEiT take over
    **ADAMW, 'lr': 6e-5, 'weight_decay': 0.01, 'batch': 16, 'iterations': 160_000, 'warm_up': 1500,
    'warm_up_from': 1e-6, 'schedule': 'PolyLR', 'norm_eval': False, 'sync_bn': 'torch', 'multiple_of': None,
}  # fmt: skip
SEMANTIC_FPN = {  # GLNet, appendix B
    **ADAMW, 'lr': 2e-4, 'weight_decay': 1e-4, 'batch': 32, 'iterations': 80_000, 'warm_up': 1000,
    'warm_up_from': 0.1, 'schedule': 'CosineAnnealingLR', 'norm_eval': False, 'sync_bn': 'torch', 'multiple_of': 32,
    'save_best': 'mIoU',
}  # fmt: skip
TAUGHT = {'distillation': ('hard', 0.5, None)}  # DeiT's weight
WITHOUT_LABELS = {  # the teacher's features are those of the image that the student sees
    **dict.fromkeys(('smoothing', 'Mixup', 'CutMix', 'test_size', 'EMAHook', 'save_best')), 'distillation': None
}  # fmt: skip
FINETUNING = {  # ours, as the docstrings say
    **ADAMW, 'lr': 1e-3, 'weight_decay': 0.05, 'batch': 512, 'epochs': 100, 'layer_decay': 0.75
}  # fmt: skip
# the first pattern that fits counts
RECIPES: dict[str, dict[str, Any]] = {
    **{
        f'{network}-{ending}_in1k.py': {**recipe, **changes}
        for network, recipe in (
            ('glnet/glnet-4g_16xb128', {**GLNET, 'drop_path': 0.15}),
            ('glit/glit-tiny_8xb128', {**DEIT, 'clip': 1.0, 'sampler': 'RepeatAugSampler', 'test_size': 256}),
            ('autovit/autovit-s_8xb128', AUTOVIT),
        )
        for ending, changes in (('hard-regnety', TAUGHT), ('features-dinov3', WITHOUT_LABELS))
    },
    'glnet/glnet_stl*_in1k.py': {**GLNET, 'drop_path': 0.1},
    'glnet/glnet_?g_token-label_in1k.py': TOKEN_LABELS,
    'glnet/glnet_4g_in1k.py': {**GLNET, 'drop_path': 0.15},
    'glnet/glnet_9g_in1k.py': {**GLNET, 'drop_path': 0.3},
    'glnet/glnet_16g_in1k.py': {**GLNET, 'drop_path': 0.4},
    'glnet/ablation_deeper_in1k.py': {**GLNET, 'drop_path': 0.15},
    'glnet/ablation_*_in1k.py': {**GLNET, 'drop_path': 0.1},
    'glnet/supernet_glnet_in1k.py': {**GLNET, 'sampler': 'DefaultSampler', 'EMAHook': None, 'save_best': None},
    **{
        f'glnet/{framework}_glnet_{size}_{schedule}.py': {**recipe, 'drop_path': drop_path}
        for framework, schedule, rates, recipe in (  # rates of BiFormer-S and -B
            ('retinanet', '1x_coco', (0.2, 0.3), {**RETINANET, **ONCE}),
            ('retinanet', '3x-ms_coco', (0.2, 0.3), {**RETINANET, **THRICE}),
            ('mask-rcnn', '1x_coco', (0.2, 0.3), {**MASK_RCNN, **ONCE}),
            ('mask-rcnn', '3x-ms_coco', (0.2, 0.3), {**MASK_RCNN, **THRICE}),
            ('semantic-fpn', '80k_ade20k', (0.15, 0.3), SEMANTIC_FPN),
            ('upernet', '160k_ade20k', (0.3, 0.4), {**UPERNET, 'lr': 6e-4, 'batch': 32, 'save_best': 'mIoU'}),
        )
        for size, drop_path in zip(('4g', '9g'), rates, strict=True)
    },
    'glit/*_imagenette.py': {},  # ours, short
    'glit/supernet_glit_tiny_flat*_in1k.py': {**GLIT_SUPERNET, 'epochs': 200},
    'glit/supernet_*': GLIT_SUPERNET,
    'glit/glit_tiny_384px_in1k.py': {  # DeiT's for 384 px
        **ADAMW,
        'lr': 5e-6,
        'weight_decay': 1e-8,
        'batch': 512,
        'epochs': 30,
        'sampler': 'RepeatAugSampler',
        'train_size': 384,
        'test_size': 438,
        'drop_path': 0.1,
        'warm_up_from': None,
    },
    'glit/glit_tiny_c[ai]*.py': FINETUNING,
    'glit/glit_tiny_flowers.py': FINETUNING,
    # the released command adds --clip-grad 1.0
    'glit/*_in1k.py': {**DEIT, 'clip': 1.0, 'sampler': 'RepeatAugSampler', 'train_size': 224, 'test_size': 256},
    'autovit/supernet_*_hard-*_in1k.py': {**AUTOVIT, 'distillation': ('hard', 0.5, None)},  # DeiT's weights
    'autovit/supernet_*_soft-*_in1k.py': {**AUTOVIT, 'distillation': ('soft', 0.1, 3.0)},
    'autovit/*_in1k.py': {**AUTOVIT, 'distillation': None},
    'autovit/autovit_s_*': FINETUNING,
    'efficientnet-lite/*_in1k.py': LITE,
    'glnet/glnet_4g_*.py': {**FINETUNING, 'drop_path': 0.15},
    'glit/*_1x_coco.py': {**COCO, **ONCE, 'layer_decay': 0.7, 'drop_path': 0.1},
    'glit/upernet_*_ade20k.py': {**UPERNET, 'layer_decay': 0.9, 'drop_path': 0.1},
    '*/*_1x_coco.py': {**COCO, **ONCE, 'layer_decay': None, 'drop_path': 0.1},
    '*/upernet_*_ade20k.py': {**UPERNET, 'layer_decay': None, 'drop_path': 0.1},
    '*/*imagenette.py': {},  # ours, short, as the last two, which start from scratch
    '*/*_coco-subset.py': {'norm_eval': False, 'sync_bn': None},
    '*/*_camvid.py': {'norm_eval': False, 'sync_bn': None},
    '*/*_own.py': {},  # ours, short
}


@cache
def read(path: str) -> tuple[str, Config]:
    """Docstring and config."""
    file = ROOT / 'configs' / path
    return file.read_text().split('"""')[1], load_config(str(file))


def batch_of(path: str) -> int:
    """Images a step, on as many GPUs as the docstring's command starts."""
    docstring, cfg = read(path)
    started = re.search(r'(?:dist_train\.sh \S+|--nproc-per-node) (\d+)', docstring)
    return cfg.train_dataloader.batch_size * (int(started[1]) if started else 1)


def recipe_of(path: str) -> dict[str, Any]:
    """The settings that the tables above name."""
    _, cfg = read(path)
    model = cfg.model.get('architecture') or cfg.model
    backbone = model.backbone.get('backbone') or model.backbone
    optimizer, schedule = cfg.optim_wrapper.optimizer, cfg.param_scheduler[-1]
    warm_up = cfg.param_scheduler[0] if len(cfg.param_scheduler) > 1 else {}
    loaders = {split: cfg[f'{split}_dataloader'] for split in ('train', 'test')}
    pipelines = {split: [] if loader is None else loader.dataset.pipeline for split, loader in loaders.items()}
    transforms = {transform.type: transform for transform in pipelines['train']}
    if 'mmhybrid.LabelMapRandAugment' in transforms:
        transforms['RandAugment'] = transforms['mmhybrid.LabelMapRandAugment'].augment
    augment, crop = transforms.get('RandAugment'), transforms.get('RandomResizedCrop')
    resize = transforms.get('RandomResize') or transforms.get('Resize')
    augments = (model.get('train_cfg') or {}).get('augments', [])
    mixes = {mix.type: mix.alpha for mix in (augments if isinstance(augments, list) else [augments])}
    distillation = cfg.model.get('distillation')
    hooks = {hook.type.removeprefix('mmhybrid.'): hook for hook in cfg.get('custom_hooks', ())}
    head = model.get('head') or {}
    return {
        'optimizer': optimizer.type,
        **{name: optimizer.get(name) for name in ('lr', 'betas', 'weight_decay', 'momentum', 'nesterov')},
        'clip': cfg.optim_wrapper.get('clip_grad', {}).get('max_norm'),
        'batch': batch_of(path),
        'epochs': cfg.train_cfg.get('max_epochs'),
        'iterations': cfg.train_cfg.get('max_iters'),
        'warm_up': warm_up.get('end'),
        'warm_up_from': warm_up.get('start_factor'),
        'schedule': schedule.type,
        'eta_min': schedule.get('eta_min'),
        'milestones': schedule.get('milestones'),
        'layer_decay': cfg.optim_wrapper.get('paramwise_cfg', {}).get('layer_decay_rate'),
        'distillation': distillation
        and (distillation.get('kind'), distillation.alpha, distillation.get('temperature')),
        'drop_path': backbone.get('drop_path_rate', 0.0),
        'norm_eval': backbone.get('norm_eval', False),
        'sync_bn': cfg.get('sync_bn'),
        'smoothing': (head.get('loss') or {}).get('label_smooth_val'),
        **{name: mixes.get(name) for name in ('Mixup', 'CutMix')},
        'RandAugment': augment and (augment.magnitude_level, augment.magnitude_std, augment.num_policies),
        'RandomErasing': transforms['RandomErasing'].erase_prob if 'RandomErasing' in transforms else None,
        'train_size': crop and crop.scale,
        'test_size': next((step.scale for step in pipelines['test'] if step.type == 'ResizeEdge'), None),
        'resize': resize and resize.scale,
        'multiple_of': next((step.size_divisor for step in pipelines['test'] if step.type == 'ResizeToMultiple'), None),
        'sampler': cfg.train_dataloader.sampler.type,
        'EMAHook': hooks['EMAHook'].momentum if 'EMAHook' in hooks else None,
        'save_best': cfg.default_hooks.checkpoint.get('save_best'),
    }


@EACH
def test_recipe(path: str) -> None:
    expected = next(recipe for pattern, recipe in RECIPES.items() if fnmatch(path, pattern))
    stated = recipe_of(path)
    assert {name: stated[name] for name in expected} == expected


@EACH
def test_learning_rate_belongs_to_the_batch_of_the_command(path: str) -> None:
    """What ``--auto-scale-lr`` scales from."""
    _, cfg = read(path)
    assert cfg.auto_scale_lr.base_batch_size == batch_of(path)


@pytest.mark.parametrize('size', ['tiny', 'small', 'base'])
def test_retraining_is_the_recipe_of_the_network_on_the_images_of_the_search(size: str) -> None:
    """The test set stays unseen, and the images held out are not trained on."""
    plain, retraining = (read(f'glit/{name}_in1k.py')[1].to_dict() for name in (f'glit_{size}', f'retrain_glit_{size}'))
    search = load_config(str(ROOT / f'configs/glit/search_glit_{size}_detail_in1k.py'))
    for split in ('train', 'val'):
        ours, held_out = retraining[f'{split}_dataloader']['dataset'], search[f'{split}_dataloader'].dataset
        assert (ours['ann_file'], ours['data_prefix']) == (held_out.ann_file, held_out.data_prefix)
        ours.pop('ann_file')
        ours['data_prefix'] = plain[f'{split}_dataloader']['dataset']['data_prefix']
    same = plain.keys() - {'work_dir'}
    assert {name: retraining[name] for name in same} == {name: plain[name] for name in same}


def test_images_of_cifar_are_erased_in_their_own_order_of_colours() -> None:
    """They come in RGB, those of files in BGR."""
    cifar, files = (read(f'autovit/autovit_s_{name}.py')[1] for name in ('cifar100', 'flowers'))
    for cfg, red in ((cifar, 0), (files, 2)):
        assert cfg.data_preprocessor.to_rgb == (red == 2)
        augment, erase = cfg.train_dataloader.dataset.pipeline[-3:-1]
        for filled in (augment.hparams.pad_val, erase.fill_color, erase.fill_std):
            assert filled[red] == max(filled)
            assert filled[red] != filled[2 - red]
