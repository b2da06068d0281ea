"""Algorithm 1 of AutoViT: a step moves the weights of its subnet and leaves the rest of the supernet as it is."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from mmhybrid.apis.training import enable_amp
from mmhybrid.models.supernets import Supernet

ADAMW = {'type': 'AdamW', 'lr': 1e-2, 'weight_decay': 0.5}
SGD = {'type': 'SGD', 'lr': 1e-2, 'momentum': 0.9, 'nesterov': True, 'weight_decay': 0.1}
SPACE = {
    'type': 'mmhybrid.AutoViTSpace',
    'table': {
        'stem_widths': [4, 8], 'conv_widths': [[8], [8], [8]], 'conv_depths': [[1], [1], [1, 2]],
        'widths': [[24, 48]] * 3, 'num_stages': [3], 'num_heads': [1, 2], 'depths': [1, 2], 'resolutions': [64],
    },
}  # fmt: skip


def build(wrapper: str, optimizer: dict) -> tuple[nn.Module, object]:
    torch.manual_seed(0)
    supernet = Supernet(SPACE, {'type': 'mmhybrid.AutoViT'})
    return supernet, build_optim_wrapper(supernet, {'type': wrapper, 'optimizer': optimizer})


def train(supernet: nn.Module, wrapper, genes: list[dict]) -> list[dict[str, Tensor]]:
    """The weights before the first step and after each."""
    found = [{name: weight.detach().clone() for name, weight in supernet.named_parameters()}]
    generator = torch.Generator().manual_seed(1)
    for arch in genes:
        supernet.set_arch(arch)
        wrapper.update_params(supernet(torch.randn(4, 3, 64, 64, generator=generator))[-1].square().mean())
        found.append({name: weight.detach().clone() for name, weight in supernet.named_parameters()})
    return found


def used_by(supernet: nn.Module, arch: dict) -> dict[str, Tensor]:
    """Which entries of the shared weights a subnet reads: those that reach its output by the chain rule of ones."""
    supernet.set_arch(arch)
    bound = supernet.subnet
    marks = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in supernet.named_parameters()}
    for name, part in bound.named_parameters():
        shared = dict(supernet.weights.named_parameters())[name]
        grad = torch.autograd.grad(part.sum(), shared, allow_unused=True)[0] if part is not shared else None
        marks[f'weights.{name}'] = torch.ones_like(shared, dtype=torch.bool) if part is shared else grad != 0
    return marks


@pytest.mark.parametrize('optimizer', [ADAMW, SGD], ids=['AdamW', 'SGD'])
def test_a_step_moves_its_subnet_alone(optimizer: dict) -> None:
    supernet, wrapper = build('mmhybrid.FreezingOptimWrapper', optimizer)
    largest, smallest = supernet.space.largest(), supernet.space.smallest()
    _, after_large, after_small = train(supernet, wrapper, [largest, smallest])
    used = used_by(supernet, smallest)
    for name, before in after_large.items():
        assert torch.equal(after_small[name][~used[name]], before[~used[name]]), name
    changed = sum(int((after_small[name] != before).sum()) for name, before in after_large.items())
    assert changed > 0.99 * sum(int(mark.sum()) for mark in used.values())


@pytest.mark.parametrize('optimizer', [ADAMW, SGD], ids=['AdamW', 'SGD'])
def test_without_it_momentum_and_decay_move_the_rest(optimizer: dict) -> None:
    supernet, wrapper = build('OptimWrapper', optimizer)
    largest, smallest = supernet.space.largest(), supernet.space.smallest()
    _, after_large, after_small = train(supernet, wrapper, [largest, smallest])
    used = used_by(supernet, smallest)
    moved = [(after_small[name] != before)[~used[name]] for name, before in after_large.items()]
    assert torch.cat([part.flatten() for part in moved]).float().mean() > 0.5


def test_used_weights_move_as_ever() -> None:
    """The memory of the unused ones neither decays nor reaches the others; SGD has no count of steps."""
    found = []
    for kind in ('OptimWrapper', 'mmhybrid.FreezingOptimWrapper'):
        supernet, wrapper = build(kind, SGD)
        smallest = supernet.space.smallest()
        found.append(train(supernet, wrapper, [smallest] * 3)[-1])
        used = used_by(supernet, smallest)
    for name, mark in used.items():
        # a bias before a norm has a gradient of rounding errors, which may be zero
        torch.testing.assert_close(found[0][name][mark], found[1][name][mark], atol=1e-9, rtol=0)


def test_a_pause_does_not_use_up_the_momentum() -> None:
    """One weight: after a step without it, its next is that of heavy-ball SGD without the pause."""
    weight = nn.Parameter(torch.ones(2))
    layer = nn.Module()
    layer.weight = weight
    sgd = {'type': 'SGD', 'lr': 0.1, 'momentum': 0.5}
    wrapper = build_optim_wrapper(layer, {'type': 'mmhybrid.FreezingOptimWrapper', 'optimizer': sgd})
    for used in (2, 1, 2):
        wrapper.update_params(weight[:used].sum())
    # steps of .1 (1, then 1.5, then 1.75) for the first entry; of .1 (1, then 1.5) for the second
    assert weight.tolist() == pytest.approx([1 - 0.1 * (1 + 1.5 + 1.75), 1 - 0.1 * (1 + 1.5)])


@pytest.mark.parametrize(
    ('chosen', 'expected'),
    [('OptimWrapper', 'AmpOptimWrapper'), ('mmhybrid.FreezingOptimWrapper', 'mmhybrid.FreezingAmpOptimWrapper')],
)
def test_mixed_precision_keeps_the_choice(chosen: str, expected: str) -> None:
    cfg = Config({'optim_wrapper': {'type': chosen}})
    enable_amp(cfg)
    assert cfg.optim_wrapper.type == expected
