"""Which elements two subnets share, told by numbers in place of weights."""

import functools
import itertools
import math

import pytest
import supernet_cases as cases
import torch
from torch import Tensor, nn

from mmhybrid.models.supernets import Supernet
from mmhybrid.models.supernets.sharing import Slice


@functools.cache
def built(name: str) -> Supernet:
    """A supernet of small size, which no test changes."""
    return next(case for case in cases.SMALL if case.name == name).build()


def axes_apart(name: str, numbers: Tensor, head_dim: int) -> Tensor:
    """The tensor with parts, heads and channels of a head on axes of their own."""
    layer, _, kind = name.rpartition('.')
    if layer.endswith('.qkv'):
        return numbers.unflatten(0, (3, -1, head_dim))
    if layer.endswith('.proj') and kind == 'weight':
        return numbers.unflatten(1, (-1, head_dim))
    if layer.endswith('.expand'):
        return numbers.unflatten(0, (2, -1))
    if layer.endswith('.fuse.0'):
        return numbers.unflatten(1, (2, -1))
    return numbers


def cropped(name: str, numbers: Tensor, shape: torch.Size) -> Tensor:
    """The leading elements, and those in the middle of a depth-wise kernel."""
    for axis, length in enumerate(shape):
        is_kernel = name.endswith(('.dwconv.weight', 'depthwise.0.weight')) and axis >= 2
        start = (numbers.shape[axis] - length) // 2 if is_kernel else 0
        numbers = numbers.narrow(axis, start, length)
    return numbers


def head_dims(network: nn.Module) -> dict[str, int]:
    """Width of the heads of each attention, by the names of its tensors."""
    return {
        f'{path}.{tensor}': module.proj.in_features // module.num_heads
        for path, module in network.named_modules()
        if hasattr(module, 'qkv')
        for tensor in ('qkv.weight', 'qkv.bias', 'proj.weight', 'proj.bias')
    }


@pytest.mark.parametrize(
    'case', cases.params([cases.GLIT, cases.detail_case(False), cases.AUTOVIT, cases.GLNET, cases.LITE])
)
def test_two_subnets_share_exactly_what_overlaps(case):
    supernet = case.build()
    subnets = []
    for arch in cases.archs(supernet, num_random=6):
        supernet.set_arch(arch)
        dims = head_dims(supernet.subnet)
        numbers = cases.element_numbers(supernet, arch)
        subnets.append({name: axes_apart(name, part, dims.get(name, 0)) for name, part in numbers.items()})
    for one, other in itertools.combinations(subnets, 2):
        for name in one.keys() & other.keys():
            a, b = one[name], other[name]
            shape = torch.Size(map(min, a.shape, b.shape))
            assert torch.equal(cropped(name, a, shape), cropped(name, b, shape)), name
            assert len(common(a, b)) == shape.numel(), name
    names = set().union(*subnets)
    held = {name: torch.cat([numbers[name].flatten() for numbers in subnets if name in numbers]) for name in names}
    spans = sorted((numbers.min().item(), numbers.max().item()) for numbers in held.values())
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(spans)), 'one tensor under two names'


def common(a: Tensor, b: Tensor) -> set[int]:
    return set(a.flatten().tolist()) & set(b.flatten().tolist())


def numbers_of(supernet, arch, **genes):
    return cases.element_numbers(supernet, supernet.space.canonical({**arch, **genes}))


@pytest.mark.parametrize('part', range(3), ids=['query', 'key', 'value'])
def test_autovit_heads_are_the_same_in_every_subnet(part):
    supernet = built('autovit-xs')
    arch = supernet.space.largest()
    name = 'transformer_stages.0.layers.0.attention'
    few, many = (numbers_of(supernet, arch, **{'stages.0.num_heads': heads}) for heads in (4, 6))
    for kind in ('weight', 'bias'):
        small, large = (numbers[f'{name}.qkv.{kind}'].unflatten(0, (3, -1, 16)) for numbers in (few, many))
        assert torch.equal(small[part], large[part, :4])
    assert torch.equal(few[f'{name}.proj.weight'], many[f'{name}.proj.weight'][:, : 4 * 16])


def test_autovit_fusion_keeps_both_halves_of_its_input():
    supernet = built('autovit-xs')
    small, large = supernet.space.smallest(), supernet.space.largest()
    name = 'transformer_stages.2.fuse.0.weight'
    narrow, wide = (cases.element_numbers(supernet, arch)[name] for arch in (small, large))
    width, full = narrow.shape[0], wide.shape[0]
    assert width < full
    assert torch.equal(narrow[:, :width], wide[:width, :width])
    assert torch.equal(narrow[:, width:], wide[:width, full : full + width])


def test_glit_qkv_ratios_cut_every_head():
    supernet = built('glit-flat-3')
    arch = supernet.space.walk(lambda name, options: 3 if name.endswith('heads') else options[-1])
    wide, narrow = (numbers_of(supernet, arch, **{'blocks.1.qkv_ratio': ratio}) for ratio in (2, 0.5))
    name, head_dim = 'blocks.1.mixer.attention', 8
    large = wide[f'{name}.qkv.weight'].view(3, 3, 2 * head_dim, 24)
    small = narrow[f'{name}.qkv.weight'].view(3, 3, head_dim // 2, 24)
    assert torch.equal(small, large[:, :, : head_dim // 2])
    large, small = wide[f'{name}.proj.weight'].view(24, 3, -1), narrow[f'{name}.proj.weight'].view(24, 3, -1)
    assert torch.equal(small, large[:, :, : head_dim // 2])


def test_glit_attention_heads_of_mixed_blocks_are_the_first_of_all():
    supernet = built('glit-flat-3')
    full = supernet.space.walk(lambda name, options: 3 if name.endswith('heads') else options[-1])
    mixed = supernet.space.walk(lambda name, options: 1 if name.endswith('heads') else options[-1])
    name = 'blocks.0.mixer.attention.qkv.weight'
    all_heads, one_head = (cases.element_numbers(supernet, arch)[name] for arch in (full, mixed))
    assert torch.equal(one_head.view(3, 1, 16, 8), all_heads.view(3, 3, 16, 24)[:, :1, :, :8])


def test_glit_glu_halves_keep_their_pairing():
    supernet = built('glit-flat-3')
    arch = supernet.space.largest()
    wide, narrow = (numbers_of(supernet, arch, **{'blocks.0.conv_ratio': ratio}) for ratio in (4, 1))
    for kind in ('weight', 'bias'):
        large, small = (numbers[f'blocks.0.mixer.conv.expand.{kind}'] for numbers in (wide, narrow))
        half, full = len(small) // 2, len(large) // 2
        assert half < full
        assert torch.equal(small[:half], large[:half])
        assert torch.equal(small[half:], large[full : full + half])


@pytest.mark.parametrize(('size', 'margin'), [(45, 0), (31, 7), (17, 14)])
def test_glit_kernels_are_cropped_around_their_centre(size, margin):
    supernet = built('glit-flat-3')
    arch, name = supernet.space.largest(), 'blocks.0.mixer.conv.dwconv.weight'
    full = cases.element_numbers(supernet, arch)[name]
    part = numbers_of(supernet, arch, **{'blocks.0.kernel_size': size})[name]
    assert torch.equal(part, full[..., margin : 45 - margin])


@pytest.mark.parametrize(('size', 'margin'), [(7, 0), (5, 1), (3, 2)])
def test_glnet_kernels_are_cropped_around_their_centre(size, margin):
    supernet = built('glnet')
    arch, name = supernet.space.largest(), 'stages.1.0.mixer.local.dwconv.weight'
    full = cases.element_numbers(supernet, arch)[name]
    part = numbers_of(supernet, arch, **{'stages.1.local_kernel': size})[name]
    assert torch.equal(part, full[..., margin : 7 - margin, margin : 7 - margin])


@pytest.mark.parametrize(('size', 'margin'), [(7, 0), (5, 1), (3, 2)])
def test_efficientnet_lite_kernels_are_cropped_around_their_centre(size, margin):
    supernet = built('efficientnet-lite')
    arch, name = supernet.space.largest(), 'stages.2.0.layers.depthwise.0.weight'
    full = cases.element_numbers(supernet, arch)[name]
    part = numbers_of(supernet, arch, **{'stages.2.blocks.0.kernel_size': size})[name]
    assert torch.equal(part, full[..., margin : 7 - margin, margin : 7 - margin])


def test_blocks_that_do_not_expand_share_no_weights_with_those_that_do():
    supernet = built('efficientnet-lite')
    arch, block = supernet.space.largest(), 'stages.1.0.'
    plain = numbers_of(supernet, arch, **{'stages.1.blocks.0.expand_ratio': 1})
    narrow = numbers_of(supernet, arch, **{'stages.1.blocks.0.expand_ratio': 3})
    plain, narrow = (
        {number for name, part in numbers.items() if name.startswith(block) for number in part.flatten().tolist()}
        for numbers in (plain, narrow)
    )
    assert plain
    assert not plain & narrow


def test_glnet_widths_cut_whole_heads():
    supernet = built('glnet')
    wide, narrow = (
        numbers_of(supernet, supernet.space.largest(), **{'stages.3.width': width})[
            'stages.3.0.mixer.slots.attention.qkv.weight'
        ].view(3, -1, 32, width)
        for width in (96, 64)
    )
    assert torch.equal(narrow, wide[:, :2, :, :64])


def test_single_path_candidates_share_nothing_within_a_block_and_all_outside():
    supernet = cases.glit_case('distribution', 3, separate=True).build()
    one = supernet.space.largest()
    attention = {'blocks.0.num_attn_heads': 2, 'blocks.0.qkv_ratio': 1}
    base, other = cases.element_numbers(supernet, one), numbers_of(supernet, one, **attention)
    for name in base.keys() & other.keys():
        shared = 0 if name.startswith('blocks.0.') else base[name].numel()
        assert len(common(base[name], other[name])) == shared, name


def test_a_slice_without_fused_groups_is_a_view():
    large, small = nn.Conv2d(8, 8, 5), nn.Conv2d(4, 6, 3)
    weight = large.weight.detach()
    part = Slice.between(large, weight.shape, small, small.weight.shape).of(weight)
    assert torch.equal(part, weight[:6, :4, 1:4, 1:4])
    part.zero_()
    assert weight.count_nonzero() == weight.numel() - math.prod(part.shape)


def test_a_layer_of_full_size_is_the_shared_tensor_itself():
    layer = nn.Linear(4, 24)
    assert Slice.between(layer, layer.weight.shape, layer, layer.weight.shape).of(layer.weight) is layer.weight
