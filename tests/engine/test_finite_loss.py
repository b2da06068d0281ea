"""A training whose loss is not a number any more ends, and says from which checkpoint one can go on."""

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import DATASETS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmhybrid.apis import training
from mmhybrid.engine.finite_loss import SCALED_STEPS, FiniteLossHook
from mmhybrid.models.checkpoints import load_local
from mmhybrid.utils.errors import CannotGoOnError


@MODELS.register_module(force=True)
class NaNToyModel(BaseModel):
    """Its loss is ``value`` at iterations ``bad``."""

    def __init__(self, bad: tuple[int, ...] = (), value: float = float('nan')) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.bad, self.value, self.count = bad, value, 0

    def forward(self, inputs: list[Tensor], mode: str = 'tensor') -> Any:
        loss = self.linear(torch.stack(inputs)).square().mean()
        self.count += 1
        return {'loss_cls': loss * (self.value if self.count in self.bad else 1), 'loss_other': loss * 0}


@DATASETS.register_module(force=True)
class NaNToyDataset(Dataset):
    """Four samples of two numbers: two iterations an epoch."""

    METAINFO: dict[str, Any] = {}

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {'inputs': torch.full((2,), float(index))}


def train(folder: Path, bad: tuple[int, ...], value: float = float('nan'), by_epoch: bool = True, **more: Any) -> None:
    sampler = {'type': 'DefaultSampler' if by_epoch else 'InfiniteSampler', 'shuffle': True}
    loop = {'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 3}
    if not by_epoch:
        loop = {'type': 'mmhybrid.ResumableIterLoop', 'max_iters': 6}
    hooks = {'checkpoint': {'type': 'mmhybrid.AtomicCheckpointHook', 'interval': 1, 'by_epoch': by_epoch}}
    dataset = {'type': 'NaNToyDataset'}
    settings = {
        'experiment_name': uuid.uuid4().hex,
        'work_dir': str(folder),
        'model': {'type': 'NaNToyModel', 'bad': bad, 'value': value},
        'train_dataloader': {'batch_size': 2, 'num_workers': 0, 'dataset': dataset, 'sampler': sampler},
        'train_cfg': loop,
        'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.01}},
        'default_hooks': {**hooks, **more},
    }
    training.train(Config(settings))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize(('by_epoch', 'last'), [(True, 'epoch_1.pth'), (False, 'iter_3.pth')])
def test_the_training_ends_and_names_the_last_good_checkpoint(
    tmp_path: Path, value: float, by_epoch: bool, last: str
) -> None:
    with pytest.raises(CannotGoOnError) as error:
        train(tmp_path, (4,), value, by_epoch)
    told = str(error.value)
    assert f'at iteration 4 (loss {value}, loss_cls {value})' in told
    assert f'the last checkpoint with finite weights is {tmp_path / last};' in told
    names = {path.name for path in tmp_path.glob('*.pth')}
    assert last in names
    assert len(names) == (1 if by_epoch else 3)


def test_a_checkpoint_of_spoilt_weights_is_not_named(tmp_path: Path) -> None:
    """The loss of its iteration was finite, the gradients were not."""
    with pytest.raises(CannotGoOnError, match=r'epoch_1\.pth'):
        train(tmp_path / 'first', (4,))
    spoilt = load_local(tmp_path / 'first/epoch_1.pth', 'cpu')
    spoilt['state_dict']['linear.bias'] *= float('nan')
    torch.save(spoilt, tmp_path / 'first/epoch_9.pth')
    (tmp_path / 'first/text.pth').write_text('no checkpoint')
    with pytest.raises(CannotGoOnError, match=r'is \S+first/epoch_1\.pth;'):
        train(tmp_path / 'first', (1,))


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    with pytest.raises(CannotGoOnError, match='no checkpoint was saved before'):
        train(tmp_path, (1,))


def test_a_setting_turns_it_off(tmp_path: Path) -> None:
    train(tmp_path, (4,), finite_loss=None)
    assert (tmp_path / 'epoch_3.pth').exists()


def test_one_that_is_borne(tmp_path: Path) -> None:
    """Losses that are scaled leave such a step out; a model that does so itself may say as much."""
    train(tmp_path, (6,), finite_loss={'type': 'mmhybrid.FiniteLossHook', 'tolerated': 1})
    assert (tmp_path / 'epoch_3.pth').exists()
    with pytest.raises(ValueError, match='interval: got 0'):
        FiniteLossHook(interval=0)


def test_scaled_losses_have_time_to_shrink(tmp_path: Path) -> None:
    wrapper = AmpOptimWrapper.__new__(AmpOptimWrapper)  # which can be built on an accelerator only
    wrapper.loss_scaler = SimpleNamespace(is_enabled=lambda: True)
    runner: Any = SimpleNamespace(iter=0, optim_wrapper=wrapper, hooks=[], work_dir=str(tmp_path), max_iters=1000)
    hook = FiniteLossHook(interval=1)

    def step(loss: float) -> None:
        hook.after_train_iter(runner, 0, outputs={'loss': torch.tensor(loss)})
        runner.iter += 1

    for _ in range(2):
        step(1.0)
        for _ in range(SCALED_STEPS):
            step(float('nan'))
    with pytest.raises(CannotGoOnError, match='not finite at iteration 23 '):
        step(float('nan'))
