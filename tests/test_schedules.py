"""Learning rates, epoch by epoch, against the schedulers of the released commands."""

from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from mmhybrid.apis.configs import load_config

ROOT = Path(__file__).resolve().parents[1]


def ours(name: str) -> list[float]:
    """The rate of each epoch."""
    cfg = load_config(str(ROOT / f'configs/glnet/{name}.py'))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    wrapper = OptimWrapper(optimizer)
    parts = [PARAM_SCHEDULERS.build({**part, 'optimizer': wrapper}) for part in cfg.param_scheduler]
    assert all(part.by_epoch for part in parts)
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        rates.append(optimizer.param_groups[0]['lr'])
        for part in parts:
            part.step()
    return rates


@pytest.mark.parametrize('name', ['glnet_4g_token-label_in1k', 'glnet_9g_token-label_in1k'])
def test_token_labelling_is_scheduled_by_timm(name: str) -> None:
    """The released loop ends an epoch with ``lr_scheduler.step(epoch)``, so that the second is trained as the first.

    During the warm-up the cosine has fallen by less than 5e-4, which timm's scheduler leaves out.
    """
    scheduler = pytest.importorskip('timm.scheduler')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
    settings = {'sched': 'cosine', 'num_epochs': 310, 'warmup_epochs': 5, 'cooldown_epochs': 10}
    theirs, _ = scheduler.create_scheduler_v2(optimizer, min_lr=1e-5, warmup_lr=1e-6, **settings)
    expected = []
    for epoch in range(310):
        expected.append(optimizer.param_groups[0]['lr'])
        theirs.step(epoch)
    assert expected[:3] == pytest.approx([1e-6, 1e-6, 4.008e-4])
    rates = ours(name)
    assert rates == pytest.approx(expected, rel=5e-4)
    assert rates[6:] == pytest.approx(expected[6:], rel=1e-5)
