"""Averages of weights follow optimizer steps, and both sets of weights are judged in every epoch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmhybrid.models.checkpoints import load_local

GRADIENTS = (-4.0, 3.0, -1.0, -5.0)  # plain weights 4, 1, 2, 7
AVERAGES = (4.0, 2.5, 2.25, 4.625)  # with a momentum of one half, from the first step on
TARGET = 2.4


class Scalar(BaseModel):
    """One weight, whose gradient is the data's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, value: list[torch.Tensor], mode: str = 'tensor') -> Any:
        """The loss, or a copy of the weight for each of the samples."""
        if mode == 'loss':
            return {'loss': self.weight * torch.stack(value).mean()}
        return [{'weight': self.weight.item()} for _ in value]


class Closeness(BaseMetric):
    """How close the weight is to ``TARGET``."""

    default_prefix = 'toy'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Collect the weight."""
        self.results += [sample['weight'] for sample in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Score and weight."""
        (weight,) = set(results)
        return {'score': -abs(weight - TARGET), 'weight': weight}


class Record(Hook):
    """What the last hooks see."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []
        self.weights: list[float] = []

    def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        """The weight after each iteration."""
        self.weights.append(runner.model.weight.item())

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """The metrics of each epoch."""
        self.metrics.append(dict(metrics or {}))


def loader(values: Sequence[float], batch_size: int = 1) -> dict[str, Any]:
    dataset = [{'value': torch.tensor(value)} for value in values]
    sampler = {'type': 'DefaultSampler', 'shuffle': False}
    return {'batch_size': batch_size, 'num_workers': 0, 'dataset': dataset, 'sampler': sampler}


def train(work_dir: Path, data: Sequence[float], epochs: int, accumulated: int = 1, **hook: Any) -> Record:
    """One pass over ``data`` for each epoch; with one value an epoch, that of the epoch."""
    record = Record()

    class Schedule(Hook):
        def before_train_epoch(self, runner: Runner) -> None:
            if epochs == len(data):
                runner.train_dataloader.dataset[0]['value'] = torch.tensor(data[runner.epoch])

    Runner(
        model=Scalar(),
        work_dir=str(work_dir),
        train_dataloader=loader(data[:1] if epochs == len(data) else data),
        train_cfg={'type': 'EpochBasedTrainLoop', 'max_epochs': epochs, 'val_interval': 1},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 1.0}, 'accumulative_counts': accumulated},
        val_dataloader=loader([0.0, 0.0]),
        val_cfg={},
        val_evaluator=[Closeness()],
        default_scope='mmengine',
        default_hooks={
            'checkpoint': {
                'type': 'mmhybrid.AtomicCheckpointHook',
                'save_best': ['toy/score', 'toy/score_origin'] if hook.get('evaluate_on_origin') else 'toy/score',
                'rule': 'greater',
            }
        },
        custom_hooks=[
            {'type': 'mmhybrid.EMAHook', 'momentum': 0.5, 'priority': 'ABOVE_NORMAL', **hook},
            Schedule(),
            record,
        ],
        experiment_name=work_dir.name,
    ).train()
    return record


def test_both_sets_of_weights_are_judged_and_the_best_of_each_is_kept(tmp_path: Path) -> None:
    record = train(tmp_path, GRADIENTS, 4, evaluate_on_origin=True)
    assert record.weights == [4, 1, 2, 7]
    assert [metrics['toy/weight'] for metrics in record.metrics] == list(AVERAGES)
    assert [metrics['toy/weight_origin'] for metrics in record.metrics] == record.weights
    best = {path.name for path in tmp_path.glob('best_*')}
    assert best == {'best_toy_score_epoch_2.pth', 'best_toy_score_origin_epoch_3.pth'}
    averaged, plain = (load_local(tmp_path / name, 'cpu') for name in sorted(best))
    assert averaged['state_dict']['weight'] == 2.5
    assert plain['ema_state_dict']['module.weight'] == 2


def test_only_the_average_is_judged_otherwise(tmp_path: Path) -> None:
    record = train(tmp_path, GRADIENTS, 4)
    assert [metrics.keys() for metrics in record.metrics] == [{'toy/weight', 'toy/score'}] * 4
    assert [metrics['toy/weight'] for metrics in record.metrics] == list(AVERAGES)


@pytest.mark.parametrize(('accumulated', 'steps'), [(1, [1, 3, 6, 10, 15]), (2, [1.5, 5, 10]), (5, [3])])
def test_averages_follow_optimizer_steps(tmp_path: Path, accumulated: int, steps: list[float]) -> None:
    """The last micro-batches of a training are a step of their own, as MMEngine scales them."""
    record = train(tmp_path, [-1.0, -2.0, -3.0, -4.0, -5.0], 1, accumulated)
    average = steps[0]
    for weight in steps[1:]:
        average = 0.5 * average + 0.5 * weight
    assert record.weights[-1] == pytest.approx(steps[-1])
    assert record.metrics[0]['toy/weight'] == pytest.approx(average)


def test_typos_are_refused() -> None:
    from mmhybrid.registry import HOOKS

    with pytest.raises(TypeError, match='momentun'):
        HOOKS.build({'type': 'mmhybrid.EMAHook', 'momentun': 0.5})
    with pytest.raises(ValueError, match='evaluate_on_origin'):
        HOOKS.build({'type': 'mmhybrid.EMAHook', 'evaluate_on_origin': 1})
