"""MMEngine's FlexibleRunner trains with our loops, and goes on where it was killed, with every strategy of a CPU."""

import json
import shutil

import pytest
from fresh_python import run_tool

from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.torch_api import TORCH

TOYS = """
import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import Dataset


@MODELS.register_module()
class StrategyToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.hidden, self.out = nn.Linear(3, 4), nn.Linear(4, 1)
        for value in self.parameters():
            value.data = torch.randn(value.shape, generator=generator)

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.out(self.hidden(torch.stack(inputs)).relu()).square().mean()}


@DATASETS.register_module()
class StrategyToyDataset(Dataset):
    METAINFO = {}

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return {'inputs': torch.tensor([index / 24, index % 3, index % 5])}
"""

CONFIG = """
custom_imports = dict(imports=['mmhybrid', 'strategy_toys'], allow_failed_imports=False)
runner_type = 'FlexibleRunner'
strategy = dict({strategy})
model = dict(type='StrategyToyModel')
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(type='StrategyToyDataset'),
                        sampler=dict(type={sampler!r}, shuffle=True))
train_cfg = dict({train_cfg})
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.01))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, end=6)]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='mmhybrid.AtomicCheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=2))
randomness = dict(seed=7)
env_cfg = dict()
"""

STRATEGIES = {
    'single': "type='SingleDeviceStrategy'",
    'ddp': "type='DDPStrategy'",
    'fsdp-full': "type='FSDPStrategy', state_dict_cfg='full'",
    'fsdp-local': "type='FSDPStrategy'",
}
EPOCHS = ('DefaultSampler', "type='mmhybrid.ResumableEpochLoop', max_epochs=2")
ITERS = ('InfiniteSampler', "type='mmhybrid.ResumableIterLoop', max_iters=6")


def train(folder, processes, *arguments):
    launcher = ['--launcher', 'pytorch'] if processes > 1 else []
    ends = run_tool('train', 'config.py', *arguments, *launcher, cwd=folder, folders=[folder], num_ranks=processes)
    for done in ends:
        assert done.returncode == 0, done.stderr[-3000:]


def read_losses(folder):
    (log,) = folder.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return {record['step']: record['loss'] for record in records}


FSDP = pytest.mark.torch_since(2, 6)  # before, it needs a GPU


@pytest.mark.skipif(TORCH >= (2, 6), reason='an older torch cannot be told of the classes of shards')
def test_resuming_from_shards_says_which_torch_it_needs(monkeypatch):
    from mmengine._strategy.fsdp import FSDPStrategy

    monkeypatch.setattr(FSDPStrategy, '_is_full_state_dict', lambda self: False)
    with pytest.raises(ValueError, match=r"state_dict_cfg 'local', but not 'full', needs torch 2\.6 or newer"):
        object.__new__(FSDPStrategy).load_checkpoint('iter_2.pth')


@pytest.mark.parametrize(
    ('strategy', 'loop'),
    [
        ('single', EPOCHS),
        pytest.param('fsdp-full', EPOCHS, marks=FSDP),
        *(
            pytest.param(strategy, loop, marks=[pytest.mark.slow, *([FSDP] if 'fsdp' in strategy else [])])
            for strategy, loop in [
                ('single', ITERS),
                ('ddp', EPOCHS),
                ('ddp', ITERS),
                ('fsdp-full', ITERS),
                ('fsdp-local', EPOCHS),
                ('fsdp-local', ITERS),
            ]
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_resumed_training_gives_the_same_losses(strategy, loop, tmp_path):
    if strategy == 'fsdp-full' and TORCH in ((2, 6), (2, 13)):
        pytest.skip(
            "this torch's FSDP reads a full state dict out of memory that it freed, on a CPU, in torch alone too"
        )
    (tmp_path / 'strategy_toys.py').write_text(TOYS)
    sampler, train_cfg = loop
    config = CONFIG.format(strategy=STRATEGIES[strategy], sampler=sampler, train_cfg=train_cfg)
    (tmp_path / 'config.py').write_text(config)
    processes = 1 if strategy == 'single' else 2
    train(tmp_path, processes, '--work-dir', 'whole')
    whole = read_losses(tmp_path / 'whole')
    last = max(whole)
    names = [path.name for path in (tmp_path / 'whole').glob('*iter_*')]
    assert sorted(names) == sorted([f'iter_{last - 2}.pth', f'iter_{last}.pth'])  # no draft, and none too many
    shutil.copytree(tmp_path / 'whole' / f'iter_{last - 2}.pth', tmp_path / 'copy') if strategy == 'fsdp-local' else (
        shutil.copy(tmp_path / 'whole' / f'iter_{last - 2}.pth', tmp_path / 'copy')
    )
    train(tmp_path, processes, '--work-dir', 'resumed', '--resume', str(tmp_path / 'copy'))
    resumed = read_losses(tmp_path / 'resumed')
    assert resumed == {step: whole[step] for step in (last - 1, last)}
    if strategy != 'fsdp-local':  # the weights of which are in parts
        ends = [read_checkpoint(str(tmp_path / name / f'iter_{last}.pth')) for name in ('whole', 'resumed')]
        assert all(value.equal(ends[1]['state_dict'][name]) for name, value in ends[0]['state_dict'].items())
