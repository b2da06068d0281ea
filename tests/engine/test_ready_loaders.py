"""Our loops take a data loader that is ready, as MMEngine's do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

import mmhybrid  # noqa: F401  registers the loops


class Mean(BaseModel):
    """Its weight follows the batches in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Any, mode: str = 'tensor') -> dict[str, Tensor]:
        numbers = inputs if isinstance(inputs, Tensor) else torch.tensor(inputs)
        return {'loss': (self.weight - numbers.float()).square().mean()}

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        losses = self(data)
        optim_wrapper.update_params(losses['loss'])
        return losses


class Ready(list):
    """What MMPretrain's ``vis_scheduler.py`` gives the loop."""

    dataset = None


def train(folder: Path, loop: dict[str, Any], loader: Any, **options: Any) -> Runner:
    runner = Runner(
        model=Mean(),
        work_dir=str(folder),
        train_dataloader=loader,
        train_cfg=loop,
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        param_scheduler={'type': 'MultiStepLR', 'milestones': [3], 'by_epoch': False},
        default_hooks={'checkpoint': {'type': 'CheckpointHook', 'interval': 5, 'by_epoch': False}},
        default_scope='mmengine',
        experiment_name=folder.name,
        randomness={'seed': 0},
        log_level='ERROR',
        **options,
    )
    runner.train()
    return runner


@pytest.mark.parametrize(
    ('ours', 'theirs'),
    [
        ({'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 3}, {'type': 'EpochBasedTrainLoop', 'max_epochs': 3}),
        ({'type': 'mmhybrid.ResumableIterLoop', 'max_iters': 10}, {'type': 'IterBasedTrainLoop', 'max_iters': 10}),
    ],
    ids=['epochs', 'iterations'],
)
@pytest.mark.parametrize('kind', ['loader', 'list'])
def test_trains_as_the_loop_of_mmengine(ours: dict, theirs: dict, kind: str, tmp_path: Path) -> None:
    numbers = torch.arange(8.0)
    loader = DataLoader(numbers, batch_size=2) if kind == 'loader' else Ready([[1, 2], [3, 4], [5, 6]])
    found = [train(tmp_path / name, dict(loop), loader) for name, loop in (('ours', ours), ('theirs', theirs))]
    assert found[0].iter == found[1].iter > 5
    assert torch.equal(found[0].model.weight, found[1].model.weight)
    assert found[0].model.weight != 0
    # and goes on where it was, at a batch or at the beginning of an epoch, as theirs does
    again = []
    for name, loop in (('ours', ours), ('theirs', theirs)):
        checkpoint = str(tmp_path / name / 'iter_5.pth')
        again.append(train(tmp_path / f'{name}_again', dict(loop), loader, resume=True, load_from=checkpoint))
    assert again[0].iter == again[1].iter
    assert torch.equal(again[0].model.weight, again[1].model.weight)


def test_an_empty_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='train_dataloader gives no batch'):
        train(tmp_path, {'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 1}, Ready())
