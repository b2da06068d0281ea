"""What a backbone says of its parts and outputs is what torch counts and sees in the network that is built."""

import random
import re
from functools import cache

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmhybrid.archs import GLNetArch
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.operations import count_part, find
from mmhybrid.counting.workload import Workload
from mmhybrid.models.backbones.base import HybridBackbone, LayerGroup
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.parts import Part, Share, sides
from mmhybrid.registry import MODELS
from mmhybrid.space import AutoViTSpace, Choice, EfficientNetLiteSpace, GLiTSpace, GLNetSpace, SearchSpace
from mmhybrid.torch_api import unfused_attention

WIDTHS = [64, 96, 128, 160]
SHALLOW = {'embed_dims': WIDTHS, 'depths': [2, 1, 2, 1], 'ffn_ratios': [2, 3, 1.5, 2]}
MIXERS = ('glmix', 'mhsa', 'local', 'global', 'global-local', 'local-global', 'window-global')
GLNETS = {
    **{mixer: {**SHALLOW, 'mixers': ['glmix', mixer, [mixer, 'mhsa'], mixer]} for mixer in MIXERS},
    'learned': {**SHALLOW, 'mixers': ['glmix'] * 4, 'learned_slots': True, 'num_slots': [25, 9, 4, 4]},
    'fixed-scale': {**SHALLOW, 'mixers': ['glmix'] * 4, 'fixed_scale': True, 'pos_encoding': True},
    'layer-scale': {**SHALLOW, 'mixers': ['global'] * 4, 'layer_scale': 1e-4, 'conv_ffn': True},
    'narrow-heads': {**SHALLOW, 'mixers': ['window-global', 'mhsa', 'glmix', 'mhsa'], 'head_dim': 16},
    'overlapped': {**SHALLOW, 'mixers': ['local'] * 4, 'overlapped_patches': True, 'local_kernels': [3, 7, 5, 9]},
}
SPACES = {
    'autovit': (AutoViTSpace('union'), {'type': 'mmhybrid.AutoViT'}),
    'autovit-transformer': (AutoViTSpace('xs', transformer_only=True), {'type': 'mmhybrid.AutoViT', 'in_channels': 4}),
    'autovit-dense': (
        AutoViTSpace('s'),
        {'type': 'mmhybrid.AutoViT', 'mbpool': False, 'out_indices': (0, 1, 3), 'out_norm_cfg': {'type': 'BN'}},
    ),
    'glit': (GLiTSpace(48, 4, 3), {'type': 'mmhybrid.GLiT', 'img_size': 64}),
    'glit-conv2d': (GLiTSpace(48, 4, 3, locality='conv2d'), {'type': 'mmhybrid.GLiT', 'out_type': 'featmap'}),
    'glit-window': (GLiTSpace(48, 4, 3, locality='window'), {'type': 'mmhybrid.GLiT', 'patch_size': 8}),
    'efficientnet-lite': (EfficientNetLiteSpace(), {'type': 'mmhybrid.EfficientNetLite', 'in_channels': 4}),
    'efficientnet-lite-plain': (
        EfficientNetLiteSpace(expand_ratios=[[1, 2], *[[1, 3, 4.5]] * 6], stem_widths=[16, 24], head_widths=[64, 96]),
        {'type': 'mmhybrid.EfficientNetLite', 'out_indices': (0, 2, 3), 'out_norm_cfg': {'type': 'BN'}},
    ),
    'efficientnet-lite-dense': (
        EfficientNetLiteSpace(),
        {'type': 'mmhybrid.EfficientNetLite', 'head_conv': False, 'out_norm_cfg': {'type': 'LN2d'}},
    ),
    'glnet': (
        GLNetSpace(widths=((32, 64), (64,), (64, 96), (96,)), depths=((1, 2), (1,), (2, 3), (1, 2))),
        {'type': 'mmhybrid.GLNet', 'out_indices': (1, 3), 'out_norm_cfg': {'type': 'LN2d'}},
    ),
}
IMAGES = [(96, 96), (64, 160), (101, 75)]  # square, wide, and of odd sides


def archs(name):
    """A backbone's config, and some architectures of it."""
    if name in GLNETS:
        return {'type': 'mmhybrid.GLNet'}, [GLNetArch.parse(GLNETS[name])]
    space, backbone = SPACES[name]
    rng = random.Random(name)
    return backbone, [space.decode(arch) for arch in (space.smallest(), space.sample(rng))]


@cache
def networks_on_meta(name):
    """The backbone's config, and the architectures with the networks of them."""
    backbone, networks = archs(name)
    return backbone, [(arch, build_on_meta({**backbone, 'arch': arch}).eval()) for arch in networks]


@cache
def parts_of(name, size):
    """Of each architecture, its parts in images of a size, with their costs."""
    backbone, networks = networks_on_meta(name)
    shape = (backbone.get('in_channels', 3), *size)
    parts = [(network, list(network.parts(arch, shape))) for arch, network in networks]
    return [[(part, count_part(network, part.pieces)) for part in each] for network, each in parts]


@pytest.mark.parametrize('size', IMAGES, ids=str)
@pytest.mark.parametrize('name', [*SPACES, *GLNETS])
def test_parts_add_up_to_what_torch_counts(name, size):
    """Parameters, and half the floating-point operations of torch's own counter, in networks of their own."""
    backbone, networks = networks_on_meta(name)
    teller = networks[0][1]
    shape = (backbone.get('in_channels', 3), *size)
    for (arch, network), parts in zip(networks, parts_of(name, size), strict=True):
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), unfused_attention(), counter:
            network(torch.empty(1, *shape, device='meta'))
        assert list(teller.parts(arch, shape)) == [part for part, _ in parts]  # whichever network tells them
        assert sum(part.copies * cost.params for part, cost in parts) == sum(p.numel() for p in network.parameters())
        assert 2 * sum(part.copies * cost.macs for part, cost in parts) == counter.get_total_flops()


@pytest.mark.parametrize('name', SPACES)
def test_networks_that_differ_in_a_gene_differ_in_their_parts(name):
    """Where a gene is decoded but the backbone takes no notice of it, a search compares equal networks."""
    space, _ = SPACES[name]
    backbone, networks = networks_on_meta(name)
    teller, shape = networks[0][1], (backbone.get('in_channels', 3), 64, 160)
    rng = random.Random(name)
    kinds = {}
    for _ in range(20):
        arch = space.sample(rng)
        for gene in arch.keys() - {'resolution'}:
            for value in space.choices[gene].values:
                other = {**arch, gene: value}
                if space.why_not(other) is None and (changed := space.canonical(other)) != arch:
                    kinds.setdefault(re.sub(r'\d+', '*', gene), (arch, changed))
    assert kinds
    for kind, pair in kinds.items():
        first, second = (list(teller.parts(space.decode(arch), shape)) for arch in pair)
        assert first != second, kind


@pytest.mark.parametrize('name', [*SPACES, *GLNETS])
def test_pieces_get_the_inputs_that_parts_say(name):
    backbone, networks = networks_on_meta(name)
    shape = (backbone.get('in_channels', 3), 64, 160)
    for arch, network in networks:
        seen = {}

        def note(module, inputs, *, seen=seen):
            seen.setdefault(module, set()).add(tuple(tuple(x.shape[1:]) for x in inputs if torch.is_tensor(x)))

        hooks = [module.register_forward_pre_hook(note) for module in network.modules()]
        with torch.no_grad():
            network(torch.empty(2, *shape, device='meta'))
        for hook in hooks:
            hook.remove()
        for part in network.parts(arch, shape):
            for path, *inputs in part.pieces:
                module = find(network, path)
                if inputs and module in seen:
                    assert seen[module] == {tuple(map(tuple, inputs))}, (path, part.key)


@pytest.mark.parametrize('name', [*SPACES, *GLNETS])
def test_parts_of_equal_keys_cost_the_same(name):
    known = {}
    for size in IMAGES:
        for parts in parts_of(name, size):
            for part, cost in parts:
                assert known.setdefault(part.key, cost) == cost, part.key


@pytest.mark.parametrize('name', [*SPACES, *GLNETS])
def test_outputs_are_those_of_the_network(name):
    backbone, networks = archs(name)
    if backbone['type'] == 'mmhybrid.GLiT':
        backbone = {**backbone, 'out_type': 'featmap', 'out_indices': (0, 2)}
    teller = build_on_meta({**backbone, 'arch': networks[0]})
    for arch in networks:
        network = build_on_meta({**backbone, 'arch': arch}).eval()
        with torch.no_grad():
            maps = network(torch.empty(1, backbone.get('in_channels', 3), 64, 128, device='meta'))
        told = [teller.outputs(arch)[i] for i in network.out_indices]
        assert [(out.shape[1], 64 // out.shape[2], 128 // out.shape[3]) for out in maps] == [
            (output.width, output.stride, output.stride) for output in told
        ]


def test_key():
    part = Part('attention', {'d': 48, 'heads': Share(2, 6), 'ratio': 0.5, 'length': 17}, 2)
    assert part.key == 'attention d=48 heads=2/6 ratio=0.5 length=17'
    assert Part('conv1', {'side': 56}, variant='plain').key == 'conv1 plain side=56'
    assert Part('network', sides(7, 7)).key == 'network side=7'
    assert Part('network', sides(7, 14)).key == 'network rows=7 columns=14'
    assert float(part.sizes['heads']) == pytest.approx(1 / 3)


@MODELS.register_module()
class OneConvolution(HybridBackbone):
    """A family that tells no parts."""

    def __init__(self, arch):
        super().__init__(1, (0,), -1, False, False, None)
        self.conv = nn.Conv2d(3, arch['width'], 3, stride=4)

    def layer_groups(self):
        return [LayerGroup(0, ('conv',))]

    def compute_outputs(self, x):
        return [self.conv(x)]


class OneConvolutionSpace(SearchSpace):
    def __init__(self):
        super().__init__([Choice('width', (4, 8))], {}, None)

    def _decode(self, genes):
        return {'width': genes['width']}


def test_a_network_that_tells_no_parts_is_one():
    estimate = Estimator(Workload(OneConvolutionSpace(), {'type': 'mmhybrid.OneConvolution'}, (64, 32)))
    assert estimate({'width': 8}).params_m == (27 + 1) * 8 / 1e6
    assert estimate({'width': 8}).macs_m == 16 * 8 * 27 * 8 / 1e6
    assert estimate({'width': 4}).params_m == (27 + 1) * 4 / 1e6


def test_estimates_of_images_that_are_not_square():
    (space, backbone), size = SPACES['glnet'], (64, 160)
    estimate = Estimator(Workload(space, backbone, size))
    arch = space.sample(random.Random(3))
    network = build_on_meta({**backbone, 'arch': space.decode(arch)}).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), unfused_attention(), counter:
        network(torch.empty(1, 3, *size, device='meta'))
    assert 2e6 * estimate(arch).macs_m == pytest.approx(counter.get_total_flops())


@pytest.mark.parametrize('size', [(64,), (64, 31), '64', 31, (64, 64, 3)])
def test_wrong_sizes_of_images(size):
    with pytest.raises(ValueError, match='input_size'):
        Workload(*SPACES['glnet'], size, None)


def test_other_backbones():
    with pytest.raises(ValueError, match=r'backbone.type: got .ResNet., allowed: .*HybridBackbone'):
        Workload(GLNetSpace(), {'type': 'ResNet'}, 64, None)
