"""The supernets under test: every space, at reduced and at full size."""

import copy
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmhybrid.archs import GLiTArch
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.build import on_meta
from mmhybrid.models.supernets import Supernet
from mmhybrid.registry import MODELS
from mmhybrid.space import Arch
from mmhybrid.space.autovit import TABLES, UNIONS

# Of all that are kept: those at full size fill memory.
MOST_PARAMETERS = 50_000_000
_BUILT: dict[str, Supernet] = {}
TINY_DISTRIBUTION = [block['num_attn_heads'] for block in GLiTArch.presets['tiny']['blocks']]


@dataclass(frozen=True)
class Case:
    """A supernet, and the size of images that reaches every tap of its kernels."""

    name: str
    space: Mapping[str, Any]
    backbone: Mapping[str, Any]
    separate: tuple[str, ...] = ()
    image_size: int = 64

    def build(self, **backbone: Any) -> Supernet:
        """A copy of one that was built before, which takes a tenth of the time."""
        torch.manual_seed(0)
        arguments = (self.space, {**self.backbone, **backbone}, self.separate)
        key = repr(arguments)
        if key not in _BUILT:
            with torch.random.fork_rng():
                _BUILT[key] = Supernet(*arguments)
            while sum(map(num_parameters, _BUILT.values())) > MOST_PARAMETERS and len(_BUILT) > 1:
                del _BUILT[next(iter(_BUILT))]
        return copy.deepcopy(_BUILT[key])

    def images(self, batch: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(batch, 3, self.image_size, self.image_size, generator=generator, dtype=torch.float64)


def glit_case(level: str, num_heads: int, separate: bool = False, **space: Any) -> Case:
    """64 patches, and a class token, for a kernel of 45."""
    space = {'embed_dims': 48 if num_heads == 12 else 8 * num_heads, 'num_blocks': 2, **space}
    outputs = {'out_indices': range(space['num_blocks']), 'out_type': 'raw'}
    return Case(
        f'glit-{level}-{num_heads}' + ('-single_path' if separate else ''),
        {'type': 'mmhybrid.GLiTSpace', 'num_heads': num_heads, 'level': level, **space},
        {'type': 'mmhybrid.GLiT', 'img_size': 64, 'patch_size': 8, **outputs},
        ('blocks',) if separate else (),
    )


def detail_case(separate: bool) -> Case:
    """The second stage of the hierarchical search, with the distribution of the published Tiny."""
    found = {f'blocks.{i}.num_attn_heads': heads for i, heads in enumerate(TINY_DISTRIBUTION[:3])}
    return glit_case('detail', 3, separate, num_blocks=3, restrict=found)


def autovit_case(name: str, table: str, narrower: int = 2, **space: Any) -> Case:
    """A quarter of the convolution's widths, at most two layers.

    The hidden widths stay wide enough to differ in the channels outside of the blocks, which are multiples of 16.
    """
    tables = [asdict(TABLES[one]) for one in UNIONS.get(table, [table])]
    for values in tables:
        for field, divisor in (('conv_widths', 4), ('widths', narrower)):
            values[field] = [[width // divisor for width in stage] for stage in values[field]]
        values |= {'stem_widths': (4, 6), 'depths': (1, 2), 'conv_depths': [(1, 2)] * 3}
    backbone = {'type': 'mmhybrid.AutoViT', 'out_indices': (0, 1, 2, 3)}
    return Case(name, {'type': 'mmhybrid.AutoViTSpace', 'table': tables, **space}, backbone)


GLNET = Case(
    'glnet',
    {
        'type': 'mmhybrid.GLNetSpace',
        'widths': ((32,), (32, 64), (32, 64, 96), (64, 96)),
        'depths': ((1, 2),) * 4,
    },
    {'type': 'mmhybrid.GLNet', 'out_indices': (0, 1, 2, 3)},
)
GLIT = glit_case('flat', 3)
FEWER = {'blocks.*.mlp_ratio': [2, 6], 'blocks.*.qkv_ratio': [0.5, 2], 'blocks.*.conv_ratio': [1, 4]}
GLIT_SINGLE_PATH = glit_case('flat', 3, separate=True, num_blocks=1, restrict=FEWER)
AUTOVIT = autovit_case('autovit-xs', 'xs')
LITE = Case(
    'efficientnet-lite',
    {
        'type': 'mmhybrid.EfficientNetLiteSpace',
        'stem_widths': (8, 12),
        'widths': ((4, 8), (8, 12), (8, 16), (16,), (16, 24), (24, 32), (32, 48)),
        'depths': ((1,), (1, 2), (1, 2), (1,), (1, 2, 3), (1, 2), (1,)),
        'kernel_sizes': ((3,), (3, 5), (3, 5, 7), (3, 5), (5, 7), (3, 5), (3, 5)),
        'expand_ratios': ((1,), (1, 3, 6), (3, 4.5), (2, 6), (1, 4, 6), (3, 6), (1, 3)),
        'head_widths': (48, 64),
    },
    {'type': 'mmhybrid.EfficientNetLite', 'out_indices': (0, 1, 2, 3)},
    (),
    96,
)
CONVNEXT = Case(
    'convnext',
    {
        'type': 'mmhybrid.ElasticSpace',
        'around': {'depths': [2, 1, 3, 1], 'kernel_sizes': [7] * 4, 'hidden_widths': [32, 48, 64, 96]},
    },
    {
        'type': 'mmhybrid.ElasticConvNeXt',
        'network': {'depths': [2, 1, 3, 1], 'channels': [8, 12, 16, 24]},
        'use_grn': True,
        'out_indices': (0, 1, 2, 3),
        'gap_before_final_norm': False,
    },
    (),
    96,
)
FAMILIES = [GLIT, AUTOVIT, GLNET, LITE]

SMALL = [
    *(glit_case(level, heads) for level in ('flat', 'detail', 'attention') for heads in (3, 6, 12)),
    *(glit_case('distribution', heads, num_blocks=4) for heads in (3, 6, 12)),  # four forms a block
    detail_case(separate=False),
    *(glit_case('distribution', heads, separate=True, num_blocks=4) for heads in (3, 6, 12)),
    detail_case(separate=True),
    GLIT_SINGLE_PATH,
    autovit_case('autovit-xxs', 'xxs', narrower=1),
    AUTOVIT,
    autovit_case('autovit-s', 's'),
    autovit_case('autovit-union', 'union', narrower=1),
    autovit_case('autovit-union-free', 'union-free'),
    autovit_case('autovit-transformer_only', 'xxs', narrower=1, transformer_only=True),
    GLNET,
    LITE,
    CONVNEXT,
]


def full_glit(level: str, embed_dims: int, num_heads: int, separate: bool = False, **space: Any) -> Case:
    """49 patches, and a class token, for a kernel of 45."""
    space = {'type': 'mmhybrid.GLiTSpace', 'embed_dims': embed_dims, 'num_heads': num_heads, 'level': level, **space}
    name = f'full-glit-{level}-{num_heads}' + ('-single_path' if separate else '')
    return Case(name, space, {'type': 'mmhybrid.GLiT'}, ('blocks',) if separate else (), 112)


def full_autovit(table: str, **space: Any) -> Case:
    name = f'full-autovit-{table}' + ('-transformer_only' if space else '')
    return Case(name, {'type': 'mmhybrid.AutoViTSpace', 'table': table, **space}, {'type': 'mmhybrid.AutoViT'}, (), 96)


TINY_DETAIL = {f'blocks.{i}.num_attn_heads': heads for i, heads in enumerate(TINY_DISTRIBUTION)}
FULL = [
    *(full_glit(level, 192, 3) for level in ('flat', 'distribution', 'detail', 'attention')),
    full_glit('flat', 384, 6),
    *(full_glit(level, 384, 6, num_blocks=4) for level in ('distribution', 'detail', 'attention')),
    # all twelve blocks in float64 are more than most machines hold
    *(full_glit(level, 768, 12, num_blocks=3) for level in ('flat', 'distribution', 'detail', 'attention')),
    full_glit('distribution', 192, 3, separate=True),
    full_glit('distribution', 384, 6, separate=True, num_blocks=4),
    full_glit('distribution', 768, 12, separate=True, num_blocks=3),
    full_glit('detail', 192, 3, separate=True, restrict=TINY_DETAIL),
    full_glit('flat', 192, 3, separate=True, num_blocks=1),
    *(full_autovit(table) for table in ('xxs', 'xs', 's', 'union', 'union-free')),
    full_autovit('xxs', transformer_only=True),
    Case('full-glnet', {'type': 'mmhybrid.GLNetSpace'}, {'type': 'mmhybrid.GLNet'}, (), 96),
    Case('full-lite', {'type': 'mmhybrid.EfficientNetLiteSpace'}, {'type': 'mmhybrid.EfficientNetLite'}, (), 96),
]


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def params(cases: list[Case]) -> list[Any]:
    """For ``pytest.mark.parametrize``."""
    return [pytest.param(case, id=case.name) for case in cases]


def archs(supernet: Supernet, num_random: int = 25, seed: int = 0) -> list[Arch]:
    """The smallest, the largest and random ones, all different; the whole space where it has no more."""
    space, rng = supernet.space, random.Random(seed)
    different = dict.fromkeys((space.smallest(), space.largest()))
    while len(different) < min(num_random + 2, space.size()):
        different[space.sample(rng)] = None
    return list(different)


@torch.no_grad()
def randomise(supernet: Supernet) -> Supernet:
    """Random values, of a size that keeps activations near 1, for every parameter and buffer; in float64."""
    supernet.double()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in supernet.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if name.endswith('num_batches_tracked'):
            tensor.fill_(3)
        elif name.endswith('running_var'):
            tensor.copy_(0.5 + noise.abs())
        elif tensor.dim() >= 2:
            tensor.copy_(noise / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(1 + 0.2 * noise)
    return supernet


def standalone(supernet: Supernet, arch: Mapping[str, Any] | None = None) -> HybridBackbone:
    """The backbone that an export describes, with its weights."""
    config, weights = supernet.export(arch)
    with on_meta():
        network = MODELS.build(config).double()
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    network.load_state_dict(weights, strict=True, assign=True)
    for name, parameter in network.named_parameters():  # which torch 2.1 forgets
        parameter.requires_grad = name in trained
    return network


def element_numbers(supernet: Supernet, arch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Which elements of the supernet's tensors, numbered in a row, a subnet holds: by tensor, in its shape.

    The numbers take the place of the weights for a moment, so the export says where each of its elements comes from.
    """
    tensors = supernet.state_dict(keep_vars=True).values()
    weights = [tensor.data for tensor in tensors]
    count = 0
    for tensor in tensors:
        tensor.data = torch.arange(count, count + tensor.numel(), dtype=torch.float64).view(tensor.shape)
        count += tensor.numel()
    try:
        return {name: numbers.long() for name, numbers in supernet.export(arch)[1].items()}
    finally:
        for tensor, weight in zip(tensors, weights, strict=True):
            tensor.data = weight


def all_values(supernet: Supernet) -> Tensor:
    """The elements in a row."""
    return torch.cat([tensor.detach().double().flatten() for tensor in supernet.state_dict().values()])


def all_gradients(supernet: Supernet) -> Tensor:
    """Their gradients, 0 where there is none."""
    tensors = supernet.state_dict(keep_vars=True).values()
    grads = [torch.zeros(tensor.shape) if tensor.grad is None else tensor.grad for tensor in tensors]
    return torch.cat([grad.double().flatten() for grad in grads])
