"""One-shot training in MMEngine's DistributedDataParallel: every rank trains the same subnets, on images of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fresh_python import CONTEXT
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from torch import distributed, multiprocessing

from mmhybrid.models.one_shot import OneShot

NUM_RANKS = 2
NUM_STEPS = 5
SPACE = {
    'type': 'mmhybrid.GLNetSpace',
    'widths': [[32], [32], [32, 64], [32, 64]],
    'depths': [[1], [1], [1, 2], [1]],
    'num_slots': [4],
}
ARCHITECTURE = {
    'type': 'ImageClassifier',
    'backbone': {'type': 'mmhybrid.Supernet', 'space': SPACE, 'backbone': {'type': 'mmhybrid.GLNet', 'with_cp': True}},
    'neck': {'type': 'GlobalAveragePooling'},
    'head': {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 64},
    'data_preprocessor': {'mean': [128] * 3, 'std': [64] * 3},
}


def run_rank(rank: int, folder: str) -> None:
    import mmpretrain.models  # noqa: F401
    from mmpretrain.structures import DataSample

    torch.set_num_threads(1)
    torch.manual_seed(0)
    distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=NUM_RANKS)
    DefaultScope.get_instance('ddp', scope_name='mmpretrain')
    try:
        model = OneShot(ARCHITECTURE, {'type': 'SandwichMutator', 'num_random': 1}, distillation={'alpha': 0.5})
        random_archs = []
        wrapped = MMDistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=True)
        optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01), accumulative_counts=2)
        optimizer.initialize_count_status(wrapped, 0, 2 * NUM_STEPS)
        generator = torch.Generator().manual_seed(rank)
        for iteration in range(2 * NUM_STEPS):
            MessageHub.get_current_instance().update_info('iter', iteration)
            images = torch.randint(0, 256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8)
            data: dict[str, Any] = {'inputs': images, 'data_samples': [DataSample().set_gt_label(i) for i in range(2)]}
            wrapped.train_step(data, optimizer)
            random_archs.append(model.supernet.arch.to_json())
        state = {name: p.detach() for name, p in model.named_parameters()}
        torch.save({'weights': state, 'archs': random_archs}, f'{folder}/{rank}.pth')
    finally:
        distributed.destroy_process_group()


@pytest.mark.torch_since(2, 4)  # before, torch leaves gradients out; a training refuses that
def test_two_ranks_train_the_same_subnets(tmp_path: Path) -> None:
    multiprocessing.start_processes(run_rank, (str(tmp_path),), NUM_RANKS, start_method=CONTEXT.get_start_method())
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in range(NUM_RANKS))
    assert first['archs'] == second['archs']
    assert len(set(first['archs'])) > 1
    assert first['weights'].keys() == second['weights'].keys()
    for name, weight in first['weights'].items():
        assert torch.equal(weight, second['weights'][name]), name
        assert weight.isfinite().all()
