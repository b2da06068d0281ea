"""Validation of a supernet, on random images."""

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from small_space import SPACE
from torch.utils.data import DataLoader, Dataset

from mmhybrid.engine.subnet_val import SubnetValLoop
from mmhybrid.models.one_shot import OneShot


@DATASETS.register_module()
class RandomImages(Dataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        return {'inputs': torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8)}


class Seen(BaseMetric):
    """What the model was when it predicted."""

    model: OneShot

    def process(self, data_batch: dict, data_samples: list) -> None:
        self.results += [(self.model.supernet.arch, norm_means(self.model)) for _ in data_samples]

    def compute_metrics(self, results: list) -> dict:
        assert all(arch == results[0][0] for arch, _ in results)
        return {'count': len(results), 'arch': results[0][0], 'means': results[0][1]}


def norm_means(model: OneShot) -> torch.Tensor:
    return torch.cat([b.flatten() for name, b in model.named_buffers() if name.endswith('running_mean')])


@pytest.mark.parametrize('calibrate', [False, True])
def test_every_subnet_is_judged_and_nothing_changes(calibrate: bool, tmp_path) -> None:
    import mmpretrain.models  # noqa: F401

    DefaultScope.get_instance(f'subnet_val_{calibrate}', scope_name='mmpretrain')
    torch.manual_seed(0)
    architecture = {
        'type': 'ImageClassifier',
        'backbone': {'type': 'mmhybrid.Supernet', 'space': SPACE, 'backbone': {'type': 'mmhybrid.GLNet'}},
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 64},
    }
    model = OneShot(architecture, {'type': 'UniformMutator'}, data_preprocessor={'mean': [128] * 3, 'std': [64] * 3})
    runner = Runner(model, str(tmp_path), default_scope='mmpretrain', experiment_name=f'subnet_val_{calibrate}')
    metric = Seen()
    metric.model = model
    calibration = {'dataset': {'type': 'RandomImages'}, 'num_images': 4, 'batch_size': 2}
    loop = SubnetValLoop(
        runner,
        DataLoader(RandomImages(), batch_size=4, collate_fn=pseudo_collate),
        runner.build_evaluator([metric]),
        num_random=2,
        calibration=calibration if calibrate else None,
    )
    runner._val_loop = loop
    active = model.space.restrict({'stages.2.depth': 1, 'stages.2.width': 64}).smallest()
    model.set_arch(active)
    before = norm_means(model)
    metrics = loop.run()
    names = ('largest', 'smallest', 'random0', 'random1')
    assert metrics.keys() == {f'{name}/{key}' for name in names for key in ('count', 'arch', 'means')}
    for name in names:
        assert metrics[f'{name}/count'] == len(RandomImages())
        assert metrics[f'{name}/arch'] == loop.archs[name]
        assert torch.equal(metrics[f'{name}/means'], before) != calibrate
    assert model.supernet.arch == active
    assert torch.equal(norm_means(model), before)

    def fail(*_: object) -> None:
        raise RuntimeError('out of memory')

    loop.run_iter = fail
    with pytest.raises(RuntimeError, match='out of memory'):
        loop.run()
    assert model.supernet.arch == active
    assert torch.equal(norm_means(model), before)
