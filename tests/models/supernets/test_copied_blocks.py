"""Subnets of copied blocks: they are what their architectures build, and train to the same bits."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmhybrid.models.layers import copies
from mmhybrid.models.layers.copies import Blocks, built
from mmhybrid.models.supernets import Supernet

CONFIGS = Path(__file__).resolve().parents[3] / 'configs/demo'
FAMILIES = pytest.mark.parametrize('family', ['autovit', 'efficientnet-lite', 'glit', 'glnet'])


def make_supernet(family: str) -> Supernet:
    torch.manual_seed(0)
    backbone = dict(Config.fromfile(CONFIGS / f'{family}_supernet.py').model.architecture.backbone)
    assert backbone.pop('type') == 'mmhybrid.Supernet'
    supernet = Supernet(**{**backbone, 'backbone': {**backbone['backbone'], 'drop_path_rate': 0.1}})
    supernet.init_weights()
    return supernet


def some_archs(supernet: Supernet, count: int) -> Iterator[Any]:
    rng = random.Random(0)
    yield supernet.space.largest()
    yield supernet.space.smallest()
    for _ in range(count - 2):
        yield supernet.space.sample(rng)


def described(network: nn.Module) -> list[Any]:
    """Every module in order with what it holds, but for the tensors' values."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return tuple(value.shape), value.dtype, value.requires_grad, type(value)
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        return type(value) if isinstance(value, nn.Module) else value

    found = []
    for name, module in network.named_modules():
        held = {key: len(value) if key.endswith('_hooks') else plain(value) for key, value in vars(module).items()}
        found.append((name, type(module), held))
    return found


@FAMILIES
def test_a_network_of_copies_is_the_one_that_is_built(family: str) -> None:
    supernet, blocks, before = make_supernet(family), Blocks(), set[int]()
    alive = []
    for arch in some_archs(supernet, 6):
        expected = supernet._build_on_meta(arch)
        with blocks.copied():
            found = supernet._build_on_meta(arch)
        ours, theirs = described(found), described(expected)
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert mine == other
        modules = {id(module) for module in found.modules()}
        assert not modules & before
        before |= modules
        alive.append(found)
        for module in found.modules():  # another network must not see hooks or children of this one
            module.register_forward_hook(lambda *_: None)
            module.register_buffer('note', torch.zeros(1))
    assert blocks._built


@FAMILIES
def test_training_is_equal_to_the_bit(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))

    def train() -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        supernet, losses = make_supernet(family).train(), []
        if family == 'glit':
            size = supernet.weights.patch_embed.kernel_size[0] * supernet.weights.grid[0]
            data = torch.nn.functional.interpolate(images, size)
        else:
            data = images
        optimizer = torch.optim.AdamW(supernet.parameters(), lr=1e-2)
        for step, arch in enumerate(some_archs(supernet, 5)):
            torch.manual_seed(step)
            supernet.set_arch(arch)
            optimizer.zero_grad()
            loss = torch.stack([out.square().mean() for out in supernet(data)]).sum()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses, supernet.state_dict()

    losses, weights = train()
    copied = []

    @contextmanager
    def plain(self: Blocks) -> Iterator[None]:
        copied.append(self)
        yield

    monkeypatch.setattr(Blocks, 'copied', plain)
    expected_losses, expected = train()
    assert copied
    assert losses[0] != losses[2]
    assert all(torch.equal(a, b) for a, b in zip(losses, expected_losses, strict=True))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


def test_what_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(*args: Any) -> nn.Module:
        made.append(args)
        return nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    monkeypatch.setattr(copies, 'KEPT_BLOCKS', 3)
    blocks = Blocks()
    built(make, 1)
    built(make, 1)
    assert made == [(1,), (1,)]
    with blocks.copied():
        first, again = built(make, 1), built(make, 1)
        assert len(made) == 3
        built(make, 1.0)  # equal, but another number
        built(make, True)
        assert len(made) == 5
        built(make, [1])  # has no hash
        built(make, [1])
        assert len(made) == 7
        built(make, 2)  # the fourth that is kept, which is one too many
        built(make, 1)
        assert made[7:] == [(2,), (1,)]
    built(make, 1)
    assert made[9:] == [(1,)]
    assert first[0] is not again[0]
    assert first[0].weight is again[0].weight
    first[0].weight = nn.Parameter(torch.ones(2, 2))
    assert again[0].weight is not first[0].weight


def test_copies_of_a_supernet_have_blocks_of_their_own() -> None:
    supernet = make_supernet('autovit')
    assert supernet.subnet is not None
    assert supernet._blocks._built
    other = copy.deepcopy(supernet)
    assert not other._blocks._built
    assert other.subnet is not supernet.subnet
