"""Options of the released GLNet class become an architecture, are asked for, or are refused by name."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmhybrid.models.backbones.glnet import GLNet
from mmhybrid.models.build import on_meta
from mmhybrid.models.convert import convert

State = dict[str, Tensor]
SAID = {'num_slots': 64, 'head_dim': 32}
STL = {
    'embed_dims': [96, 192, 384, 768],
    'depths': [2, 2, 6, 2],
    'ffn_ratios': [4.0, 4.0, 4.0, 4.0],
    'mixers': [['glmix'] * 2, ['glmix'] * 2, ['glmix'] * 6, ['mhsa'] * 2],
    'local_kernels': [5, 5, 5, 5],
    'num_slots': [64, 64, 64, 64],
    'head_dim': 32,
    'learned_slots': False,
    'fixed_scale': False,
    'overlapped_patches': False,
    'pos_encoding': False,
    'conv_ffn': False,
    'layer_scale': None,
}


@pytest.fixture
def stl(published: Callable[[str], Any]) -> State:
    """A copy of the released names and tensors."""
    return dict(published('glnet_stl').weights)


@pytest.fixture
def four_g(published: Callable[[str], Any]) -> State:
    return dict(published('glnet_4g').weights)


def named(state: State, ending: str) -> list[str]:
    found = [name for name in state if name.endswith(ending)]
    assert found
    return found


def arch_of(state: State, **said: int) -> Any:
    """What the converted checkpoint says; its weights fit the backbone."""
    checkpoint = convert(state, **{**SAID, **said})
    arch = checkpoint['meta']['backbone']['arch']
    model = GLNet(arch)
    prefix = 'backbone.'
    weights = {name.removeprefix(prefix): value for name, value in checkpoint['state_dict'].items() if prefix in name}
    model.load_state_dict(weights)
    return arch


@pytest.mark.parametrize(('name', 'arch'), [('glnet_stl', 'stl'), ('glnet_4g', '4g')])
def test_what_the_tensors_do_not_tell_has_to_be_said(published: Callable[[str], Any], name: str, arch: str) -> None:
    weights = published(name).weights
    message = r'do not determine num_slots \(64 .*\) and head_dim \(32 .*\); give these, or as arch .*16g.*4g.*9g.*stl'
    with pytest.raises(ValueError, match=message):
        convert(weights)
    with pytest.raises(ValueError, match=r'do not determine num_slots \(64 as published\); give'):
        convert(weights, head_dim=32)
    with pytest.raises(ValueError, match=r'do not determine head_dim \(32 as published\); give'):
        convert(weights, num_slots=64)
    assert convert(weights, **SAID)['meta']['backbone']['arch'] == arch
    assert convert(weights, arch)['meta']['backbone']['arch'] == arch


def test_other_numbers_of_pooled_slots(stl: State) -> None:
    """Nothing in the file differs from 64."""
    arch = arch_of(stl, num_slots=49)
    assert arch == {**STL, 'num_slots': [49, 49, 49, 49]}
    with pytest.raises(ValueError, match=r'arch\.num_slots: got 50, allowed: a square number'):
        convert(stl, num_slots=50, head_dim=32)


def test_learned_slots_tell_their_number(stl: State) -> None:
    for name in named(stl, 'slot_scale'):
        width = stl[name.replace('slot_scale', 'norm1.weight')].numel()
        stl[name.replace('slot_scale', 'init_slots')] = torch.randn(1, 49, width)
    arch = convert(stl, head_dim=32)['meta']['backbone']['arch']
    assert arch == {**STL, 'num_slots': [49, 49, 49, 64], 'learned_slots': True}
    with pytest.raises(ValueError, match='num_slots: got 64, allowed: nothing, since no slots are pooled'):
        convert(stl, num_slots=64, head_dim=32)


@pytest.mark.parametrize('head_dim', [16, 32, 48, 96])
def test_heads_are_those_of_torch(stl: State, head_dim: int) -> None:
    """The released blocks hold ``nn.MultiheadAttention``, whose tensors look alike whatever the number of heads."""
    arch = convert(stl, num_slots=64, head_dim=head_dim)['meta']['backbone']['arch']
    state = convert(stl, num_slots=64, head_dim=head_dim)['state_dict']
    with on_meta():
        model = GLNet(arch)
    for released, place, width in (
        ('stages.3.blocks.1.mha_op', 'stages.3.1.mixer', 768),
        ('stages.0.blocks.0.relation_mha', 'stages.0.0.mixer.slots.attention', 96),
    ):
        theirs = nn.MultiheadAttention(width, width // head_dim, batch_first=True)
        theirs.load_state_dict(
            {name.removeprefix(f'{released}.'): stl[name] for name in stl if name.startswith(released)}
        )
        ours = model.get_submodule(place)
        prefix = f'backbone.{place}.'
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        ours.load_state_dict(own, assign=True)
        x = torch.randn(2, 9, width)
        with torch.no_grad():
            expected = theirs(x, x, x, need_weights=False)[0]
            maps = x.transpose(1, 2).unflatten(2, (3, 3))
            out = ours(maps, maps).flatten(2).transpose(1, 2) if 'mha_op' in released else ours(x)
        assert torch.allclose(out, expected, atol=1e-5)


def test_kernels_of_the_local_branch(stl: State) -> None:
    for stage, size in enumerate((3, 7, 9)):
        for name in [n for n in named(stl, 'feature_conv.1.weight') if n.startswith(f'stages.{stage}.')]:
            stl[name] = torch.randn(len(stl[name]), 1, size, size)
    assert arch_of(stl) == {**STL, 'local_kernels': [3, 7, 9, 5]}


def test_no_local_branch(stl: State) -> None:
    """``local_dw_ks=0``: an identity has no tensors."""
    for name in [name for name in stl if '.feature_conv.' in name]:
        del stl[name]
    assert arch_of(stl) == {**STL, 'mixers': [['global'] * 2, ['global'] * 2, ['global'] * 6, ['mhsa'] * 2]}


def test_constant_scale(stl: State) -> None:
    """``scale_mode='const'`` keeps the initial value, in a buffer of the same name."""
    for name in named(stl, 'slot_scale'):
        stl[name] = torch.tensor(stl[name.replace('slot_scale', 'norm1.weight')].numel() ** -0.5)
    arch = arch_of(stl)
    assert arch == {**STL, 'fixed_scale': True}
    model = GLNet(arch)
    assert not any(name.endswith('.scale') for name, _ in model.named_parameters())
    assert sum(name.endswith('.scale') for name, _ in model.named_buffers()) == 10


def test_depths_and_hybrid_stages(four_g: State) -> None:
    """Table 7's networks are of the released class, too."""
    for name in [name for name in four_g if re.match(r'stages\.2\.blocks\.(6|7|8|9|1\d)\.', name)]:
        del four_g[name]
    for name in [name for name in four_g if '.mlp.1.' in name]:
        del four_g[name]
    arch = arch_of(four_g)
    assert arch['depths'] == [4, 4, 6, 4]
    assert arch['mixers'] == [['glmix'] * 4, ['glmix'] * 4, ['glmix', 'mhsa'] * 3, ['mhsa'] * 4]
    assert (arch['overlapped_patches'], arch['pos_encoding'], arch['conv_ffn']) == (True, True, False)


def dual_patch_norm(state: State) -> None:
    state |= {f'downsample_layers.0.0.{name}': torch.ones(3) for name in ('weight', 'bias')}


def other_layout(state: State) -> None:
    for stage in (1, 2, 3):
        for name in [name for name in state if name.startswith(f'downsample_layers.{stage}.')]:
            first, second = f'downsample_layers.{stage}.0.', f'downsample_layers.{stage}.1.'
            state[f'moved.{name.replace(first, "@").replace(second, first).replace("@", second)}'] = state.pop(name)
    for name in [name for name in state if name.startswith('moved.')]:
        state[name.removeprefix('moved.')] = state.pop(name)


def larger_position_encoding(state: State) -> None:
    for name in named(state, 'pos_conv.weight'):
        state[name] = torch.ones(len(state[name]), 1, 5, 5)


def no_slot_attention(state: State) -> None:
    for name in [name for name in state if '.relation_mha.' in name]:
        del state[name]


def layer_norms(state: State) -> None:
    for name in [name for name in state if name.startswith('norm.running') or name == 'norm.num_batches_tracked']:
        del state[name]


@pytest.mark.parametrize(
    ('name', 'change', 'option'),
    [
        ('glnet_4g', dual_patch_norm, 'dual_patch_norm=True'),
        ('glnet_4g', other_layout, "transition_layout='norm.proj'"),
        ('glnet_stl', other_layout, "transition_layout='proj.norm'"),
        ('glnet_4g', larger_position_encoding, 'cpe_ks=5'),
        ('glnet_stl', no_slot_attention, 'use_slot_attention=False'),
        ('glnet_4g', layer_norms, 'norm_layer other than BatchNorm2d'),
    ],
)
def test_other_options_are_refused_by_name(
    published: Callable[[str], Any], name: str, change: Callable[[State], None], option: str
) -> None:
    state = dict(published(name).weights)
    change(state)
    with pytest.raises(ValueError, match=re.escape(f'GLNet checkpoint: it was trained with {option}')):
        convert(state, **SAID)


def test_a_gap_in_the_blocks(stl: State) -> None:
    for name in [name for name in stl if name.startswith('stages.2.blocks.3.')]:
        del stl[name]
    with pytest.raises(ValueError, match='do not form 4 stages without gaps'):
        convert(stl, **SAID)


def test_a_missing_tensor_is_named(stl: State) -> None:
    del stl['stages.1.blocks.1.mlp.3.bias']
    with pytest.raises(ValueError, match=r"'stl', missing backbone\.stages\.1\.1\.ffn\.conv2\.bias \(192,\)$"):
        convert(stl, **SAID)


@pytest.mark.parametrize(
    ('name', 'said', 'message'),
    [
        ('glnet_4g', {'arch': '4g', 'num_slots': 64}, 'num_slots: got 64, allowed: nothing together with arch'),
        ('glit_tiny', {'head_dim': 32}, 'head_dim: got 32, allowed: nothing for GLiT'),
        ('glnet_4g', {'arch': 'tiny'}, "arch: got 'tiny', allowed: one of ['16g', '4g', '9g', 'stl', 'stl-paramslot']"),
    ],
)
def test_what_is_said_in_vain(published: Callable[[str], Any], name: str, said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(published(name).weights, **said)
