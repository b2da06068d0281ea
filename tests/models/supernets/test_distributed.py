"""A supernet in DistributedDataParallel: two ranks train like one process on both halves of the batch."""

import random
from pathlib import Path

import supernet_cases as cases
import torch
from fresh_python import CONTEXT
from torch import Tensor, distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

NUM_RANKS = 2
NUM_STEPS = 5


def train(model, half: slice) -> dict[str, Tensor]:
    """The weights after a few steps, each with an arch that follows from its number alone.

    Statistics of batches are not used, so that the halves of a batch do not see each other.
    """
    supernet = model.module if isinstance(model, DistributedDataParallel) else model
    optimizer = torch.optim.SGD(supernet.parameters(), lr=1e-3, momentum=0.9)
    for step in range(NUM_STEPS):
        supernet.set_arch(supernet.space.sample(random.Random(step)))
        images = cases.AUTOVIT.images(batch=4)[half] + step
        optimizer.zero_grad()
        sum(out.square().mean() for out in model(images)).backward()
        optimizer.step()
    return supernet.state_dict()


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=NUM_RANKS)
    try:
        supernet = cases.randomise(cases.AUTOVIT.build(norm_eval=True))
        model = DistributedDataParallel(supernet, find_unused_parameters=True)
        torch.save(train(model, slice(2 * rank, 2 * rank + 2)), f'{folder}/{rank}.pth')
    finally:
        distributed.destroy_process_group()


def test_two_ranks_train_like_one_process(tmp_path: Path) -> None:
    multiprocessing.start_processes(run_rank, (str(tmp_path),), NUM_RANKS, start_method=CONTEXT.get_start_method())
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in range(NUM_RANKS))
    supernet = cases.randomise(cases.AUTOVIT.build(norm_eval=True))
    initial = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    alone = train(supernet, slice(None))
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], tensor, rtol=1e-5), name
    changed = [name for name, tensor in initial.items() if not torch.equal(tensor, first[name])]
    assert len(changed) > len(dict(supernet.named_parameters())) / 2
