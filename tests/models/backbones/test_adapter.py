"""Networks of other libraries as backbones of ours: what their own code computes is what is expected."""

import copy
import pickle
import random

import numpy as np
import onnxruntime
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmpretrain.models import ConvNeXt
from mmpretrain.models.backbones.convnext import ConvNeXtBlock
from torch import nn

from mmhybrid.archs import ElasticArch
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.models.backbones import ElasticConvNeXt
from mmhybrid.models.backbones.adapter import Adapter, BlockLayers, Stage
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.layers.cutting import crop_kernel, narrow_inputs, narrow_outputs
from mmhybrid.models.layers.order import sort_channels
from mmhybrid.models.supernets import Supernet
from mmhybrid.registry import MODELS
from mmhybrid.space import ElasticSpace
from mmhybrid.torch_api import EXPORTING

NETWORK = {'depths': [2, 1, 3, 1], 'channels': [8, 12, 16, 24]}
ALL = {'depths': [2, 1, 3, 1], 'kernel_sizes': [7] * 4, 'hidden_widths': [32, 48, 64, 96]}
LESS = {
    'depths': [1, 1, 2, 1],
    'kernel_sizes': [[5], [7], [3, 5], [3]],
    'hidden_widths': [[16], [36], [64, 40], [72]],
}
DENSE = {'out_indices': [0, 1, 2, 3], 'gap_before_final_norm': False}
VARIANTS = [
    {},
    DENSE,
    {'use_grn': True, 'layer_scale_init_value': 0.0, 'out_indices': [1, 3]},
    {'linear_pw_conv': False, 'stem_patch_size': 2, 'in_channels': 4},
]


@torch.no_grad()
def trained(module, seed=0):
    """The same module with weights that all do something."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        noise = torch.randn(tensor.shape, generator=generator)
        tensor.copy_(noise / tensor[0].numel() ** 0.5 if tensor.dim() > 1 else 1 + 0.3 * noise)
    module.eval()  # MMPretrain's returns nothing
    return module


def images(channels=3, height=64, width=96):
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(1))


def whole(**options):
    return trained(ConvNeXt(copy.deepcopy(NETWORK), **copy.deepcopy(options)))


def adapted(arch=None, **options):
    return ElasticConvNeXt(NETWORK, arch, **options).eval()


def built_for(arch, **options):
    """MMPretrain's own network with blocks that its own class builds for an architecture."""
    network = ConvNeXt({**NETWORK, 'depths': arch['depths']}, **options)
    for i, stage in enumerate(network.stages):
        width = NETWORK['channels'][i]
        for j, (kernel, hidden) in enumerate(zip(arch['kernel_sizes'][i], arch['hidden_widths'][i], strict=True)):
            conv = {'kernel_size': kernel, 'padding': kernel // 2}
            stage[j] = ConvNeXtBlock(width, conv, mlp_ratio=hidden / width)
    network.eval()
    return network


def cut_weights(weights, network):
    """The leading channels and the middles of kernels, which a network of MMPretrain has room for."""
    parts = {}
    for name, room in network.state_dict().items():
        tensor = weights[name]
        if name.endswith('depthwise_conv.weight'):
            cut = (tensor.shape[-1] - room.shape[-1]) // 2
            tensor = tensor[:, :, cut : cut + room.shape[-1], cut : cut + room.shape[-1]]
        else:
            tensor = tensor[tuple(slice(size) for size in room.shape)]
        parts[name] = tensor.clone()
    return parts


@pytest.mark.parametrize('options', VARIANTS, ids=str)
def test_the_whole_network_is_mmpretrains(options):
    """With its names, its weights and, to the bit, its outputs; also as the largest subnet."""
    theirs = whole(**options)
    ours = adapted(**options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = images(options.get('in_channels', 3))
    supernet = Supernet({'type': 'mmhybrid.ElasticSpace', 'around': ALL}, backbone(**options)).eval()
    supernet.weights.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        expected = theirs(x)
        for outputs in (ours(x), supernet(x)):
            assert all(torch.equal(out, wanted) for out, wanted in zip(outputs, expected, strict=True))
    assert supernet.arch == supernet.space.encode(ALL)


def backbone(**options):
    return {'type': 'mmhybrid.ElasticConvNeXt', 'network': NETWORK, **options}


@pytest.mark.parametrize('options', [{}, DENSE], ids=['classifier', 'dense'])
def test_a_subnet_is_the_network_that_mmpretrain_builds(options):
    theirs = whole(**options)
    supernet = Supernet({'type': 'mmhybrid.ElasticSpace', 'around': ALL}, backbone(**options)).eval()
    supernet.weights.load_state_dict(theirs.state_dict())
    rng = random.Random(0)
    archs = [supernet.space.smallest(), *(supernet.space.sample(rng) for _ in range(5))]
    for arch in archs:
        supernet.set_arch(arch)
        decoded = supernet.space.decode(arch).to_dict()
        network = built_for(decoded, **copy.deepcopy(options))
        network.load_state_dict(cut_weights(theirs.state_dict(), network), strict=True)
        config, weights = supernet.export()
        exported = MODELS.build(config).eval()
        exported.load_state_dict(weights, strict=True)
        with torch.no_grad():
            for outputs in (supernet(images()), exported(images())):
                assert all(torch.equal(a, b) for a, b in zip(outputs, network(images()), strict=True))
        assert config['arch'] == decoded


def test_a_network_without_other_kernels_and_widths_needs_mmpretrain_alone():
    """What is exported of a supernet of depths has the names of MMPretrain's network, and its sizes."""
    supernet = Supernet({'type': 'mmhybrid.ElasticSpace', 'depths': [[1, 2], [1], [1, 2, 3], [1]]}, backbone()).eval()
    trained(supernet.weights)
    _, weights = supernet.export(supernet.space.smallest())
    network = ConvNeXt({**NETWORK, 'depths': [1, 1, 1, 1]})
    network.load_state_dict(weights, strict=True)
    network.eval()
    supernet.set_arch(supernet.space.smallest())
    with torch.no_grad():
        assert torch.equal(network(images())[0], supernet(images())[0])


def test_every_architecture_is_reached_from_the_network_itself():
    assert adapted().arch == ElasticArch.parse(ALL)
    assert adapted(LESS).arch == ElasticArch.parse(LESS)
    assert adapted({'depths': [1, 1, 3, 1]}).arch.hidden_widths == ((32,), (48,), (64,) * 3, (96,))


@pytest.mark.parametrize('size', [(64, 64), (64, 96)], ids=str)
@pytest.mark.parametrize('options', VARIANTS, ids=str)
def test_costs_are_those_of_the_network(options, size):
    space = ElasticSpace(around=ALL)
    estimate = Estimator(Workload(space, backbone(**options), size))
    rng = random.Random(0)
    for arch in [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(4))]:
        network = build_on_meta(backbone(**options, arch=space.decode(arch)))
        counted = count_complexity(network, (options.get('in_channels', 3), *size))
        assert (estimate(arch).params_m, estimate(arch).macs_m) == (counted.params / 1e6, counted.macs / 1e6)


def test_outputs_are_those_that_it_returns():
    model = adapted(LESS, **DENSE)
    shapes = [tuple(out.shape[1:]) for out in model(images(height=64, width=64))]
    assert [(width, 64 // stride, 64 // stride) for width, stride in model.outputs(model.arch)] == shapes


def test_looking_at_shapes_leaves_a_network_in_training_as_it_is():
    model = TestBatchNorms().train()
    before = copy.deepcopy(model.state_dict())
    model.outputs(model.arch)
    assert model.training
    assert model.network.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_stages_freeze_in_order():
    parts = [('downsample_layers.0.',), *((f'stages.{i}.', f'downsample_layers.{i}.', f'norm{i}.') for i in range(4))]
    for level in range(-1, 5):
        model = ElasticConvNeXt(NETWORK, frozen_stages=level, **DENSE).train()
        frozen = tuple(name for part in parts[: level + 1] for name in part)
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad != name.startswith(frozen), (level, name)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_layer_depth_follows_the_order_of_computation():
    model = adapted(**DENSE)
    order = []
    for name, module in model.named_modules():
        if list(module.parameters(recurse=False)) and not name.startswith('norm'):
            depth = model.get_layer_depth(f'backbone.{name}.weight', 'backbone.')[0]
            module.register_forward_pre_hook(lambda *_, depth=depth: order.append(depth))
    model(images())
    assert order == sorted(order)
    assert set(order) == set(range(1 + 7))
    assert model.get_layer_depth('norm0.weight') == (8, 9)


def test_initial_values_are_mmpretrains():
    """Within a model too, where MMEngine gives layers theirs from outside."""
    torch.manual_seed(0)
    theirs = ConvNeXt(NETWORK)
    theirs.init_weights()
    torch.manual_seed(0)
    ours = MODELS.build({'type': 'mmpretrain.ImageClassifier', '_scope_': 'mmpretrain', 'backbone': backbone()})
    ours.init_weights()
    for name, value in ours.backbone.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])  # noqa: S301
def test_copies_are_independent(copied):
    model = trained(adapted(LESS))
    twin = copied(model)
    expected = model(images())[0].detach()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(twin(images())[0], expected)
    assert not model(images())[0].any()


def test_moving_averages_follow():
    model = trained(adapted(LESS))
    average = ExponentialMovingAverage(model, momentum=0.25)
    average.update_parameters(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    average.update_parameters(model)
    other = adapted(LESS)
    other.load_state_dict({name: value / 3 * 1.5 for name, value in model.state_dict().items()})
    torch.testing.assert_close(average.module.eval()(images()), other(images()))


@pytest.mark.torch_since(*EXPORTING)
def test_exports(tmp_path):
    model, x = trained(adapted(LESS, **DENSE)), images()
    with torch.no_grad():
        expected = model(x)
        program = torch.export.export(model, (x,))
        torch.onnx.export(program, (), tmp_path / 'model.onnx', verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx', providers=['CPUExecutionProvider'])
    for out, wanted in zip(session.run(None, {session.get_inputs()[0].name: x.numpy()}), expected, strict=True):
        np.testing.assert_allclose(out, wanted.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.torch_since(2, 6)
def test_compiles():
    torch._dynamo.reset()
    model = trained(adapted(LESS)).double()
    expected = model(images().double())
    torch.testing.assert_close(torch.compile(model, backend='aot_eager')(images().double()), expected)


# Channels by importance


def test_sorting_changes_nothing_but_the_order():
    for options in VARIANTS[:3]:
        model = trained(adapted(**options))
        before = copy.deepcopy(model.state_dict())
        with torch.no_grad():
            expected = model(images())
            sort_channels(model)
            outputs = model(images())
        torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert {name.split('.')[3] for name in changed} == {
            *('pointwise_conv1', 'pointwise_conv2'),
            *(['grn'] if options.get('use_grn') else []),
        }


def test_smaller_networks_keep_what_matters():
    """Half of the hidden channels do nothing: sorted, a network without as many computes the same."""
    theirs = whole()
    with torch.no_grad():
        for block in (block for stage in theirs.stages for block in stage):
            unused = torch.randperm(block.pointwise_conv2.in_features)[: block.pointwise_conv2.in_features // 2]
            block.pointwise_conv2.weight[:, unused] = 0
        expected = theirs(images())[0]
    narrow = {f'stages.{i}.blocks.*.hidden_width': 2 * width for i, width in enumerate(NETWORK['channels'])}
    differences = []
    for is_sorted in (True, False):
        space = {'type': 'mmhybrid.ElasticSpace', 'around': ALL}
        supernet = Supernet(space, backbone()).eval()
        supernet.weights.load_state_dict(theirs.state_dict())
        if is_sorted:
            sort_channels(supernet.weights)
        supernet.set_arch(supernet.space.restrict(narrow).largest())
        with torch.no_grad():
            differences.append(float((supernet(images())[0] - expected).norm() / expected.norm()))
    assert differences[0] < 1e-5 < 1e-2 < differences[1]


# Other networks


class Attention(nn.Module):
    """Of channels: both its layers have the hidden ones."""

    def __init__(self, width):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x):
        return x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Inverted(nn.Module):
    """An inverted residual as other libraries have it, with batch norms and an attention."""

    def __init__(self, before, width, stride):
        super().__init__()
        hidden = 3 * before
        self.conv1, self.norm1 = nn.Conv2d(before, hidden, 1, bias=False), nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 5, stride, 2, groups=hidden, padding_mode='reflect')
        self.norm2, self.attention = nn.GroupNorm(1, hidden), Attention(hidden)
        self.conv2 = nn.Conv2d(hidden, width, 1)

    def forward(self, x):
        out = self.norm2(self.depthwise(self.norm1(self.conv1(x)).relu())).relu()
        out = self.conv2(self.attention(out))
        return x + out if x.shape == out.shape else out


class OtherNetwork(nn.Module):
    """With a parameter and a dropout of its own, outside of all layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.bias = nn.Parameter(torch.zeros(8, 1, 1))
        self.features = nn.ModuleList(
            nn.Sequential(Inverted(before, width, 2), Inverted(width, width, 1), Inverted(width, width, 1))
            for before, width in ((8, 12), (12, 16))
        )

    def forward(self, x):
        x = nn.functional.dropout(self.stem(x) + self.bias, 0.5, self.training)
        for stage in self.features:
            x = stage(x)
        return x


@MODELS.register_module()
class TestBatchNorms(Adapter):
    """The adapter of that network."""

    __test__ = False
    block_layers = BlockLayers(
        'depthwise', ('conv1', 'norm1', 'depthwise', 'norm2', 'attention.excite'), ('conv2', 'attention.squeeze')
    )

    def __init__(self, arch=None):
        stages = [Stage('features.0', ('stem', 'bias')), Stage('features.1')]
        super().__init__(OtherNetwork(), stages, arch)

    def compute_outputs(self, x):
        return [self.network(x)]


OTHER = {'type': 'mmhybrid.TestBatchNorms'}
OTHER_ALL = TestBatchNorms().arch.to_dict()


def test_hidden_channels_may_be_of_several_layers():
    """A subnet is the network that is cut; the first block of a stage has another width than those behind it."""
    assert OTHER_ALL['hidden_widths'] == [[24, 36, 36], [36, 48, 48]]
    supernet = Supernet({'type': 'mmhybrid.ElasticSpace', 'around': OTHER_ALL}, OTHER).eval()
    rng = random.Random(0)
    for arch in [supernet.space.smallest(), *(supernet.space.sample(rng) for _ in range(4))]:
        trained(supernet.weights)
        config, weights = supernet.export(arch)
        with torch.no_grad():
            network = MODELS.build(config).eval()
            network.load_state_dict(weights, strict=True)
            supernet.set_arch(arch)
            assert torch.equal(network(images())[0], supernet(images())[0])
        counted = count_complexity(network, (3, 64, 96))
        cost = Estimator(Workload(supernet.space, OTHER, (64, 96)))(arch)
        assert (cost.params_m, cost.macs_m) == (counted.params / 1e6, counted.macs / 1e6)


def test_channels_of_several_layers_are_sorted():
    model = trained(TestBatchNorms())
    with torch.no_grad():
        expected = model(images())[0]
        sort_channels(model)
        torch.testing.assert_close(model(images())[0], expected, rtol=1e-4, atol=1e-4)
        strengths = model.features[0][1].conv2.weight.abs().sum((0, 2, 3))
    assert torch.equal(strengths, strengths.sort(descending=True).values)


def test_its_own_mode_and_parameters_follow():
    model = trained(TestBatchNorms())
    assert torch.equal(model(images())[0], model(images())[0])
    model.train()
    assert not torch.equal(model(images())[0], model(images())[0])  # of its dropout
    model.double()
    assert model.network.bias.dtype == torch.float64
    assert model.network.bias is model.bias


# Mistakes


@pytest.mark.parametrize(
    ('arch', 'message'),
    [
        ({'depths': [2, 1, 3]}, r'arch\.depths: got \[2, 1, 3\], allowed: 4 stages'),
        ({**ALL, 'depths': [2, 1, 4, 1]}, r'arch\.depths\[2\]: got 4, allowed: at most 3'),
        ({**ALL, 'kernel_sizes': [9, 7, 7, 7]}, r'arch\.kernel_sizes\[0\]\[0\]: got 9, allowed: at most 7'),
        ({**ALL, 'hidden_widths': [32, 48, 65, 96]}, r'arch\.hidden_widths\[2\]\[0\]: got 65, allowed: at most 64'),
        ({**ALL, 'kernel_sizes': [4, 7, 7, 7]}, r'arch\.kernel_sizes: got 4'),
        ({**ALL, 'hidden_widths': [[32], 48, 64, 96]}, r'arch\.hidden_widths: got \[32\], allowed: a list of 2'),
        ({**ALL, 'widths': [8]}, 'surplus widths'),
        ('convnext-mini', r"Elastic arch: got 'convnext-mini'"),
    ],
    ids=str,
)
def test_what_a_network_does_not_have_is_refused(arch, message):
    with pytest.raises(ValueError, match=message):
        adapted(arch)


def test_what_is_not_elastic_is_refused():
    with pytest.raises(ValueError, match=r"network: got 'mini', allowed: one of \['atto'"):
        ElasticConvNeXt('mini')
    with pytest.raises(ValueError, match=r'groups: got 4, allowed: 1 or as many as channels'):
        narrow_outputs(nn.Conv2d(8, 8, 3, groups=4), 4, 8)
    with pytest.raises(ValueError, match=r'channels of BatchNorm2d\.weight: got 12, allowed: 8'):
        narrow_outputs(nn.BatchNorm2d(12), 4, 8)
    with pytest.raises(ValueError, match=r"layer: got 'LayerNorm', allowed: a linear layer"):
        narrow_inputs(nn.LayerNorm(8), 4)
    with pytest.raises(ValueError, match=r'kernel_size: got 3, allowed: a size that is in the middle of 8'):
        crop_kernel(nn.Conv2d(8, 8, 8), 3)
    for padding in (1, 'valid'):  # maps would become larger
        with pytest.raises(ValueError, match=r'padding: got .* allowed: at least \[2, 2\] for a kernel of 3'):
            crop_kernel(nn.Conv2d(8, 8, 7, padding=padding), 3)
    for narrow in (narrow_inputs, lambda layer, width: narrow_outputs(layer, width, 8)):
        with pytest.raises(ValueError, match=r"layer: got 'ConvTranspose2d'"):
            narrow(nn.ConvTranspose2d(8, 8, 2), 4)
