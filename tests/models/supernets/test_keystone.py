"""A subnet is the standalone backbone: outputs, gradients, statistics, sizes."""

from collections.abc import Iterable, Mapping

import pytest
import supernet_cases as cases
import torch
from torch import Tensor

from mmhybrid.models.backbones.autovit import channels_of
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.supernets import Supernet
from mmhybrid.space import Arch

RTOL = 1e-5
# Beside the smallest and the largest network of each space; the quick tests look at 25 spaces.
NUM_RANDOM, QUICK_RANDOM = 25, 12


@pytest.mark.parametrize('case', cases.params([case for case in cases.SMALL if 'autovit' in case.name]))
def test_small_autovits_vary_the_channels_outside_of_the_blocks(case):
    for table in case.space['table']:
        assert sum(channels_of(stage[0]) < channels_of(stage[-1]) for stage in table['widths']) >= 3


@pytest.mark.parametrize('case', cases.params(cases.SMALL))
def test_subnets_are_standalone_backbones(case):
    check_all(case, QUICK_RANDOM)


@pytest.mark.slow
@pytest.mark.parametrize('case', cases.params([*cases.SMALL, *cases.FULL]))
def test_subnets_are_standalone_backbones_at_full_size(case):
    check_all(case, NUM_RANDOM)


def check_all(case: cases.Case, num_random: int) -> None:
    supernet, images = cases.randomise(case.build()), case.images()
    checked = set()
    for arch in cases.archs(supernet, num_random):
        supernet.zero_grad()
        supernet.set_arch(arch)
        network = cases.standalone(supernet)
        check_outputs(supernet.eval(), network.eval(), images)
        check_training(supernet.train(), network.train(), images, arch)
        checked.add(arch)
    assert len(checked) >= min(num_random, supernet.space.size())


@torch.no_grad()
def check_outputs(supernet: Supernet, network: HybridBackbone, images: Tensor) -> None:
    same_outputs(supernet(images), network(images))


def check_training(supernet: Supernet, network: HybridBackbone, images: Tensor, arch: Arch) -> None:
    numbers = cases.element_numbers(supernet, arch)
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    active = join(numbers, parameters)
    before = cases.all_values(supernet)
    is_active = torch.zeros(len(before), dtype=torch.bool)
    is_active[active] = True
    assert is_active.sum() == len(active) == sum(p.numel() for p in supernet.subnet.parameters())

    ours, theirs = supernet(images), network(images)
    same_outputs(ours, theirs)
    loss(ours).backward()
    loss(theirs).backward()

    gradients = cases.all_gradients(supernet)
    # what cancels leaves a rest, as before a batch norm
    rest = 1e-7 * max(parameter.grad.abs().max().item() for parameter in parameters.values())
    for name, parameter in parameters.items():
        assert difference(gradients[numbers[name]], parameter.grad) < RTOL * parameter.grad.abs().max() + rest, name
    assert not gradients[~is_active].any()

    after = cases.all_values(supernet)
    for name, buffer in buffers.items():
        assert difference(after[numbers[name]], buffer) < RTOL * buffer.abs().max(), name
        assert not torch.equal(after[numbers[name]], before[numbers[name]])
        after[numbers[name]] = before[numbers[name]]
    assert torch.equal(after, before)


def same_outputs(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    """The supernet's have the widest network's channels, the surplus ones are zero."""
    for out, wanted in zip(ours, theirs, strict=True):
        width = wanted.shape[1]
        assert difference(out[:, :width], wanted) < RTOL * wanted.abs().max()
        assert not out[:, width:].any()


def loss(outputs: Iterable[Tensor]) -> Tensor:
    """A sum in which pixels differ in weight; channels of zeros add nothing."""
    weighted = (out * torch.linspace(1, 2, out.shape[-1], dtype=out.dtype) for out in outputs)
    return sum(out.square().sum() for out in weighted)


def join(tensors: Mapping[str, Tensor], names: Iterable[str]) -> Tensor:
    return torch.cat([tensors[name].flatten() for name in names])


def difference(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).detach().abs().max()
