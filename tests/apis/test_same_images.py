"""An iteration recipe on another batch trains as many images, on the same schedule over them."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from mmhybrid.apis.same_images import train_on_same_images

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def make_cfg(batch_size=4, **settings):
    cfg = Config.fromfile(CONFIGS / '_base_/schedules/ade_adamw_80k.py')
    cfg.merge_from_dict(
        {
            'train_dataloader': {'batch_size': batch_size},
            'default_hooks': {'checkpoint': {'by_epoch': False, 'interval': 8000}},
            **settings,
        }
    )
    return cfg


def rates(cfg):
    """The learning rate of each iteration."""
    optimizer = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0))
    schedules = [
        PARAM_SCHEDULERS.build({**item}, default_args={'optimizer': optimizer}) for item in cfg.param_scheduler
    ]
    found = []
    for _ in range(cfg.train_cfg.max_iters):
        found.append(optimizer.param_groups[0]['lr'])
        for schedule in schedules:
            schedule.step()
    return found


@pytest.mark.parametrize(('batch_size', 'num_processes', 'factor'), [(4, 2, 4), (8, 4, 1), (8, 8, 0.5), (3, 1, 32 / 3)])
def test_as_many_images_as_published(batch_size, num_processes, factor):
    cfg = make_cfg(batch_size)
    train_on_same_images(cfg, num_processes)
    assert cfg.train_cfg.max_iters * batch_size * num_processes == pytest.approx(80000 * 32, abs=16)
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.begin, cosine.end) == (0, cfg.train_cfg.max_iters)
    assert warm_up.end == cosine.begin == round(1000 * factor)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == round(8000 * factor)


def test_same_rate_after_as_many_images():
    published = make_cfg()
    published.train_cfg.max_iters = 400
    published.param_scheduler[0].end = published.param_scheduler[1].begin = 50
    published.param_scheduler[1].end = 400
    longer = copy.deepcopy(published)
    train_on_same_images(longer, 2)
    assert rates(longer)[::4] == pytest.approx(rates(published), abs=0.02)


def test_steps_are_scaled():
    steps = [
        {'type': 'MultiStepLR', 'by_epoch': False, 'milestones': [10, 20]},
        {'type': 'StepLR', 'by_epoch': False, 'step_size': 7},
    ]
    cfg = make_cfg(param_scheduler=steps)
    train_on_same_images(cfg, 4)
    assert cfg.param_scheduler[0].milestones == [20, 40]
    assert cfg.param_scheduler[1].step_size == 14


@pytest.mark.parametrize(
    ('settings', 'told'),
    [
        ({'train_cfg': {'_delete_': True, 'max_epochs': 3}}, 'counts epochs'),
        ({'auto_scale_lr': None}, 'lacks auto_scale_lr.base_batch_size'),
        ({'param_scheduler': [{'type': 'ExponentialLR', 'by_epoch': False, 'gamma': 0.9}]}, 'ExponentialLR'),
    ],
)
def test_what_cannot_be_lengthened_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        train_on_same_images(make_cfg(**settings), 1)
