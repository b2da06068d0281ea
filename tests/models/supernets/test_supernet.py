"""What a supernet promises beside its outputs: sizes, errors, copies, freezing, checkpointing, init, data types."""

import copy
import gc
import itertools
import math
import pickle
import random
import weakref

import pytest
import supernet_cases as cases
import torch
from layouts import assert_contiguous
from mmengine.model import ExponentialMovingAverage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhybrid.models.build import on_meta
from mmhybrid.models.supernets import Supernet
from mmhybrid.models.supernets.subnets import CACHED_SUBNETS

FAMILIES = cases.params(cases.FAMILIES)
WITH_SINGLE_PATH = cases.params([*cases.FAMILIES, cases.GLIT_SINGLE_PATH])


def supernet_on_meta(space, backbone, separate=()):
    with on_meta():
        return Supernet(space, {'type': f'mmhybrid.{backbone}'}, separate)


def largest_subnet(supernet):
    supernet.set_arch(supernet.space.largest())
    return cases.num_parameters(supernet.subnet)


# Sizes


@pytest.mark.parametrize(
    ('table', 'transformer_only'), [('xxs', False), ('xxs', True), ('xs', False), ('s', False), ('union-free', False)]
)
def test_autovit_is_as_large_as_its_largest_subnet(table, transformer_only):
    space = {'type': 'mmhybrid.AutoViTSpace', 'table': table, 'transformer_only': transformer_only}
    supernet = supernet_on_meta(space, 'AutoViT')
    assert cases.num_parameters(supernet) <= 1.02 * largest_subnet(supernet)


def dense(in_width, out_width, taps=1):
    return out_width * (in_width * taps + 1)


def glit_attention(width, out_ratio):
    hidden = int(out_ratio * width)
    return dense(width, 3 * hidden) + dense(hidden, width)


def glit_conv(width, ratio, kernel_size):
    hidden = int(ratio * width)
    return dense(width, 2 * hidden) + dense(1, hidden, kernel_size) + 2 * hidden + dense(hidden, width)


@pytest.mark.parametrize(('width', 'heads'), [(192, 3), (384, 6), (768, 12)])
@pytest.mark.parametrize(('level', 'qkv_ratio'), [('flat', 2), ('distribution', 1), ('detail', 2)])
def test_entangled_glit_adds_attention_to_its_largest_subnet(width, heads, level, qkv_ratio):
    """The largest subnet has convolution alone; its FFN is not the largest, where the second stage closes it."""
    space = {'type': 'mmhybrid.GLiTSpace', 'embed_dims': width, 'num_heads': heads, 'level': level, 'num_blocks': 3}
    supernet = supernet_on_meta(space, 'GLiT')
    wider_ffn = 2 * width * 2 * width + 2 * width if level == 'detail' else 0
    unshared = 3 * (glit_attention(width, qkv_ratio) + wider_ffn)
    assert cases.num_parameters(supernet) == largest_subnet(supernet) + unshared


def test_single_path_glit_has_each_candidate_on_its_own():
    width, heads = 24, 3
    space = {'type': 'mmhybrid.GLiTSpace', 'embed_dims': width, 'num_heads': heads, 'num_blocks': 2}
    supernet = supernet_on_meta(space, 'GLiT', ['blocks'])
    candidates = 0
    for attention in (0, 8, 16, 24):
        attentions = [glit_attention(attention, ratio) for ratio in (0.5, 1, 2)] if attention else [0]
        convs = [0]
        if attention < width:
            convs = [glit_conv(width - attention, ratio, kernel) for ratio in (1, 2, 4) for kernel in (17, 31, 45)]
        for mlp_ratio in (2, 4, 6):
            ffn = dense(width, mlp_ratio * width) + dense(mlp_ratio * width, width)
            candidates += sum(a + c + ffn + 4 * width for a in attentions for c in convs)
    stem_and_norm = dense(3, width, 16 * 16) + width + (1 + 14 * 14) * width + 2 * width
    assert cases.num_parameters(supernet) == 2 * candidates + stem_and_norm
    assert len(supernet.weights.blocks) == 2 * 198


def test_glnet_adds_full_attention_and_patches_to_its_largest_subnet():
    widths, depths = (96, 192, 384, 768), (4, 4, 18, 4)
    supernet = supernet_on_meta({'type': 'mmhybrid.GLNetSpace'}, 'GLNet')
    attention = sum(depth * (dense(w, 3 * w) + dense(w, w)) for w, depth in zip(widths, depths, strict=True))
    stem = dense(3, 96, 4 * 4) + 2 * 96
    patches = stem + sum(2 * w + dense(w, wider, 2 * 2) for w, wider in itertools.pairwise(widths))
    assert cases.num_parameters(supernet) == largest_subnet(supernet) + attention + patches


# Errors


def test_an_arch_outside_the_space_is_refused_with_the_reason():
    supernet = cases.AUTOVIT.build()
    active = supernet.arch
    wrong = {**active, 'stages.0.num_heads': 77}
    for use in (supernet.set_arch, supernet.export):
        with pytest.raises(ValueError, match=r'stages\.0\.num_heads: got 77, allowed: one of \[4, 5, 6\]'):
            use(wrong)
    assert supernet.arch == active


def test_the_backbone_may_not_name_what_the_space_decides():
    with pytest.raises(ValueError, match='surplus arch, which the space decides'):
        Supernet(cases.GLIT.space, {'type': 'mmhybrid.GLiT', 'arch': 'tiny'})


@pytest.mark.parametrize('case', cases.params([cases.AUTOVIT, cases.GLNET, cases.LITE]))
def test_only_blocks_with_genes_of_their_own_can_be_separate(case):
    for name in ('stages', 'transformer_stages', 'nothing'):
        with pytest.raises(ValueError, match='separate'):
            Supernet(case.space, case.backbone, [name])


def test_separate_names_the_lists_it_could_be():
    with pytest.raises(ValueError, match=r"separate: got 'block', allowed: one of \['blocks'\]"):
        Supernet(cases.GLIT.space, cases.GLIT.backbone, ['block'])


# State


@pytest.mark.parametrize('case', WITH_SINGLE_PATH)
def test_state_is_the_shared_weights_alone(case):
    supernet, other = cases.randomise(case.build()), case.build().double()
    size = len(supernet.state_dict())
    for arch in cases.archs(supernet, num_random=3):
        supernet.set_arch(arch)
        supernet(case.images())
    state = supernet.state_dict()
    assert len(state) == size
    assert all(name.startswith('weights.') for name in state)
    assert len({tensor.data_ptr() for tensor in state.values()}) == size
    other.load_state_dict(state, strict=True)
    for arch in cases.archs(supernet, num_random=3):
        weights, loaded = supernet.export(arch)[1], other.export(arch)[1]
        assert all(torch.equal(weights[name], loaded[name]) for name in weights)


@pytest.mark.parametrize('case', FAMILIES)
def test_export_keeps_the_active_arch_and_owns_its_tensors(case):
    supernet = cases.randomise(case.build())
    active = supernet.space.largest()
    supernet.set_arch(active)
    config, weights = supernet.export(supernet.space.smallest())
    before = cases.all_values(supernet)
    for tensor in weights.values():
        assert not tensor.requires_grad
        tensor.zero_()
    assert torch.equal(cases.all_values(supernet), before)
    assert supernet.arch == active
    assert config == {**case.backbone, 'arch': supernet.space.decode(supernet.space.smallest()).to_dict()}


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])  # noqa: S301
@pytest.mark.parametrize('case', WITH_SINGLE_PATH)
def test_copies_are_independent(case, copied):
    supernet, images = cases.randomise(case.build()).eval(), case.images()
    supernet(images)[0].sum().backward()
    twin = copied(supernet)
    assert twin.arch == supernet.arch
    expected = supernet(images)
    for parameter in supernet.parameters():
        parameter.data.zero_()
    assert all(torch.equal(a, b) for a, b in zip(twin(images), expected, strict=True))


def test_moving_average_follows_all_subnets():
    supernet = cases.randomise(cases.GLIT.build())
    average = ExponentialMovingAverage(supernet, momentum=0.25, update_buffers=True)
    before = cases.all_values(supernet)
    average.update_parameters(supernet)  # the first update copies
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(1)
    average.update_parameters(supernet)
    arch = supernet.space.sample(random.Random(0))
    ours, averaged = supernet.export(arch)[1], average.module.export(arch)[1]
    for name, parameter in cases.standalone(supernet, arch).named_parameters():
        assert torch.allclose(averaged[name], ours[name] - 0.75), name
        assert parameter.shape == averaged[name].shape
    assert not torch.equal(cases.all_values(average.module), before)


# Cached subnets


@pytest.mark.parametrize(
    'change',
    [
        lambda net: net.float(),
        lambda net: net.load_state_dict({k: v.clone() for k, v in net.state_dict().items()}, assign=True),
    ],
    ids=['to', 'assign'],
)
def test_cached_subnets_let_go_of_replaced_tensors(change):
    supernet = cases.randomise(cases.GLIT.build())
    supernet.set_arch(supernet.space.smallest())
    held = weakref.ref(supernet.subnet.blocks[0].ffn.fc1.weight)
    change(supernet)
    gc.collect()
    assert held() is None
    weights = supernet.state_dict()
    assert supernet.subnet.patch_embed.weight.data_ptr() == weights['weights.patch_embed.weight'].data_ptr()


def test_a_subnet_does_not_keep_its_graph():
    supernet, images = cases.randomise(cases.GLIT.build()), cases.GLIT.images()
    output = supernet(images)[0]
    output.sum().backward()
    held = weakref.ref(output)
    del output
    gc.collect()
    assert held() is None


def test_the_subnets_used_last_are_kept():
    supernet = cases.GLIT.build()
    largest = supernet.subnet
    rng = random.Random(0)
    built = []
    for _ in range(3 * CACHED_SUBNETS):
        supernet.set_arch(supernet.space.sample(rng))
        assert supernet.subnet is not largest
        built.append(weakref.ref(supernet.subnet))
        supernet.set_arch(supernet.space.largest())
        assert supernet.subnet is largest
    gc.collect()
    alive = [subnet() is not None for subnet in built]
    assert alive == [False] * (2 * CACHED_SUBNETS + 1) + [True] * (CACHED_SUBNETS - 1)


@pytest.mark.parametrize('case', FAMILIES)
def test_a_step_of_the_optimizer_changes_cached_subnets(case):
    supernet, images = cases.randomise(case.build()), case.images()
    arch = supernet.space.sample(random.Random(0))
    supernet.set_arch(arch)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=1e-3)
    supernet(images)[0].square().sum().backward()
    optimizer.step()
    supernet.eval()
    with torch.no_grad():
        assert torch.allclose(supernet(images)[0], cases.standalone(supernet).eval()(images)[0])


# Modes


@pytest.mark.parametrize('case', WITH_SINGLE_PATH)
def test_subnets_take_over_synchronised_norms(case):
    supernet = nn.SyncBatchNorm.convert_sync_batchnorm(cases.randomise(case.build()))
    supernet.set_arch(supernet.space.sample(random.Random(0)))
    norms = [module for module in supernet.subnet.modules() if isinstance(module, _BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    supernet.eval()
    with torch.no_grad():
        wanted = cases.standalone(supernet).eval()(case.images())
        assert all(torch.equal(out[:, : w.shape[1]], w) for out, w in zip(supernet(case.images()), wanted, strict=True))


@pytest.mark.parametrize('case', FAMILIES)
def test_checkpointing_changes_no_gradient_and_no_statistics(case):
    plain, saving = cases.randomise(case.build()), cases.randomise(case.build(with_cp=True))
    for arch in (plain.space.largest(), plain.space.sample(random.Random(1))):
        losses = []
        for supernet in (plain, saving):
            supernet.set_arch(arch)
            losses.append(sum(out.square().sum() for out in supernet(case.images())))
        saving.set_arch(saving.space.smallest())  # another subnet runs before the backward pass of the first
        assert saving.subnet.with_cp
        for loss in losses:
            loss.backward()
    assert torch.allclose(cases.all_gradients(plain), cases.all_gradients(saving))
    assert torch.allclose(cases.all_values(plain), cases.all_values(saving))


@pytest.mark.parametrize('case', WITH_SINGLE_PATH)
def test_frozen_layers_stay_as_they_are(case):
    supernet = cases.randomise(case.build(frozen_stages=1)).train()
    before = supernet.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    frozen = {name for name, parameter in supernet.named_parameters() if not parameter.requires_grad}
    assert frozen
    for arch in cases.archs(supernet, num_random=4):
        supernet.set_arch(arch)
        network = cases.standalone(supernet).train()
        for part, whole in zip(supernet.subnet.modules(), network.modules(), strict=True):
            assert part.training == whole.training
        same = {name: p.requires_grad for name, p in supernet.subnet.named_parameters()}
        assert same == {name: p.requires_grad for name, p in network.named_parameters()}
        loss = supernet(case.images())[-1].square().sum()
        if loss.requires_grad:
            loss.backward()
    prefixes = {name.rpartition('.')[0] for name in frozen}
    for name, tensor in supernet.state_dict(keep_vars=True).items():
        if name.rpartition('.')[0] in prefixes:
            assert tensor.grad is None
            assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize('case', cases.params([cases.AUTOVIT, cases.GLIT, cases.LITE]))
def test_norm_eval_holds_in_new_and_old_subnets(case):
    supernet = case.build(norm_eval=True)
    for arch in (supernet.space.largest(), supernet.space.smallest(), supernet.space.largest()):
        for mode in (True, False, True):
            supernet.train(mode).set_arch(arch)
            assert supernet.subnet.training == mode
            assert not any(norm.training for norm in supernet.subnet.modules() if isinstance(norm, _BatchNorm))


def test_small_images_of_tokens_are_not_padded():
    supernet = cases.GLIT.build()
    assert supernet(torch.randn(1, 3, 32, 32))[0].shape == (1, 1 + 4 * 4, 24)


@pytest.mark.parametrize('case', cases.params([cases.AUTOVIT, cases.GLNET, cases.LITE]))
def test_every_subnet_has_the_channels_of_the_widest(case):
    supernet = case.build().eval()
    for arch in cases.archs(supernet, num_random=3):
        supernet.set_arch(arch)
        assert tuple(out.shape[1] for out in supernet(case.images().float())) == supernet.out_channels


@pytest.mark.parametrize('out_norm_cfg', [None, {'type': 'LN2d'}, {'type': 'BN'}], ids=['none', 'LN2d', 'BN'])
@pytest.mark.parametrize('case', WITH_SINGLE_PATH)
def test_outputs_of_every_subnet_are_contiguous(case, out_norm_cfg):
    as_maps = {'out_type': 'featmap'} if case.backbone['type'] == 'mmhybrid.GLiT' else {}
    supernet = case.build(out_norm_cfg=out_norm_cfg, **as_maps)
    widened = set()
    for arch in cases.archs(supernet, num_random=5):
        supernet.set_arch(arch)
        images = case.images().float()
        for training in (True, False):
            outs = supernet.train(training)(images)
            assert_contiguous(outs)
        widened |= {i for i, out in enumerate(supernet.subnet(images)) if out.shape[1] < outs[i].shape[1]}
        assert_contiguous(supernet(images.to(memory_format=torch.channels_last)))
    # GLNet's space has one width in the first stage, GLiT's one everywhere
    varied = {'AutoViT': {0, 1, 2, 3}, 'EfficientNetLite': {0, 1, 2, 3}, 'GLNet': {1, 2, 3}, 'GLiT': set()}
    assert widened == varied[case.backbone['type'][9:]]


# Initial weights


@pytest.mark.parametrize('case', [one for one in WITH_SINGLE_PATH if one.id != 'efficientnet-lite'])
def test_initial_weights_reach_every_layer(case):
    """Linear weights of all families that have some are drawn anew, with the spread of a standalone backbone's."""
    supernet = case.build()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    supernet.init_weights()
    layers = [(name, layer) for name, layer in supernet.named_modules() if isinstance(layer, nn.Linear)]
    assert layers
    for name, layer in layers:
        assert not torch.equal(layer.weight, before[f'{name}.weight']), name
        xavier = math.sqrt(2 / (layer.in_features + layer.out_features))
        spread = xavier if case is cases.GLNET and name.endswith('qkv') else 0.02
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.5), name
        assert not layer.bias.any(), name


def test_initial_weights_of_efficientnet_lite_are_those_of_its_release():
    """A normal distribution with the variance 2 / fan out, which of a depth-wise convolution is that of a channel."""
    supernet = cases.LITE.build()
    supernet.init_weights()
    layers = [layer for layer in supernet.modules() if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 300]
    assert {layer.groups > 1 for layer in layers} == {False, True}
    for layer in layers:
        fan_out = layer.weight[0, 0].numel() * (1 if layer.groups > 1 else layer.out_channels)
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.25)


def test_initial_weights_of_grafted_convolutions_are_those_of_a_backbone():
    supernet = cases.GLNET.build()
    supernet.init_weights()
    for stage in range(4):
        weight = supernet.weights.downsamplers[stage].patch.weight
        assert weight.std().item() == pytest.approx(1 / math.sqrt(3 * weight[0].numel()), rel=0.2)


# Depth of layers


@pytest.mark.parametrize('case', WITH_SINGLE_PATH)
def test_every_parameter_has_the_depth_of_its_place(case):
    supernet = case.build()
    supernet.set_arch(supernet.space.largest())
    largest = supernet.subnet
    for name, _ in supernet.named_parameters():
        depth, count = supernet.get_layer_depth(f'backbone.{name}', 'backbone.')
        place = '.'.join(part.partition('@')[0] for part in name.removeprefix('weights.').split('.'))
        assert (depth, count) == largest.get_layer_depth(place)
        is_output = place.startswith(largest.output_layers) and not place.startswith(('mbpool', 'head_conv'))
        assert (depth == count - 1) == is_output, name
    assert supernet.get_layer_depth('head.blocks.0.weight', 'backbone.') == (count - 1, count)


def test_layers_of_the_stem_come_first():
    supernet = cases.GLIT_SINGLE_PATH.build()
    assert supernet.get_layer_depth('backbone.weights.cls_token', 'backbone.') == (0, 3)
    block = next(name for name, _ in supernet.named_parameters() if '@' in name)
    assert supernet.get_layer_depth(f'backbone.{block}', 'backbone.') == (1, 3)


# Statistics


def test_statistics_of_a_narrow_subnet_land_in_the_leading_channels():
    supernet = cases.randomise(cases.AUTOVIT.build()).train()
    supernet.set_arch(supernet.space.smallest())
    narrow = supernet.subnet.conv_stages[0][0].norm2.num_features
    norm = supernet.weights.conv_stages[0][0].norm2
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    supernet(cases.AUTOVIT.images())
    assert 0 < narrow < norm.num_features
    for now, before in ((norm.running_mean, mean), (norm.running_var, var)):
        assert (now[:narrow] != before[:narrow]).all()
        assert torch.equal(now[narrow:], before[narrow:])
    assert norm.num_batches_tracked == 4
    assert math.isclose(norm.momentum, 0.1)
