"""Networks in the deployed form: what they compute stays, and what was folded is gone."""

import copy

import pytest
import supernet_cases
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mmhybrid.models.backbones.autovit import AutoViT
from mmhybrid.models.backbones.convnext import ElasticConvNeXt
from mmhybrid.models.backbones.efficientnet_lite import EfficientNetLite
from mmhybrid.models.backbones.glit import GLiT
from mmhybrid.models.backbones.glnet import GLNet
from mmhybrid.models.deployed import switch_to_deploy
from mmhybrid.models.layers import packed
from mmhybrid.models.layers.basic import LayerScale
from mmhybrid.models.layers.folding import ResidualDepthwiseConv2d, fold, fold_norm_before

GLNET = {'embed_dims': [32, 32, 64, 64], 'depths': [1, 1, 2, 1], 'ffn_ratios': [2] * 4, 'num_slots': [16] * 4}
ADVANCED = {'overlapped_patches': True, 'pos_encoding': True, 'conv_ffn': True, 'layer_scale': 0.5}
MIXERS = ['glmix', 'window-global', ['global-local', 'local-global'], 'mhsa']
GLIT = {
    'embed_dims': 32,
    'num_heads': 2,
    'blocks': [
        {'num_attn_heads': 0, 'mlp_ratio': 2, 'conv_ratio': 2, 'kernel_size': 7},
        {'num_attn_heads': 1, 'mlp_ratio': 2, 'qkv_ratio': 1, 'conv_ratio': 1, 'kernel_size': 5},
    ],
}
AUTOVIT = {
    'stem_width': 16,
    'conv_widths': [16, 24, 32],
    'conv_depths': [1, 2, 1],
    'embed_dims': [32, 48, 64],
    'depths': [1, 1, 1],
    'num_heads': [2, 2, 2],
    'mlp_ratios': [2, 2, 2],
}
LITE = {
    'stem_width': 8,
    'embed_dims': [8, 12, 16, 24, 24, 32, 48],
    'depths': [1, 2, 1, 1, 2, 1, 1],
    'kernel_sizes': [3, [3, 5], 5, 3, [5, 7], 5, 3],
    'expand_ratios': [1, 3, 4, 6, [6, 2.5], 1, 3],
    'head_width': 64,
}
CONVNEXT = {'depths': [1, 1, 2, 1], 'channels': [8, 12, 16, 24]}
NETWORKS = {
    'glnet': lambda: GLNet({**GLNET, 'mixers': MIXERS}, out_indices=(0, 1, 2, 3)),
    'glnet, advanced': lambda: GLNet({**GLNET, **ADVANCED, 'mixers': MIXERS}, out_indices=(0, 1, 2, 3)),
    'glnet, one branch': lambda: GLNet({**GLNET, **ADVANCED, 'mixers': ['global', 'local', 'glmix', 'mhsa']}),
    'glnet, dense': lambda: GLNet({**GLNET, 'mixers': MIXERS}, out_indices=(0, 3), out_norm_cfg={'type': 'BN'}),
    'glnet, other norms': lambda: GLNet({**GLNET, 'mixers': MIXERS}, norm_cfg={'type': 'LN2d'}),
    'glit': lambda: GLiT(GLIT, img_size=64),
    'glit, map': lambda: GLiT({**GLIT, 'locality': 'conv2d'}, img_size=64, out_indices=(0, 1), out_type='featmap'),
    'autovit': lambda: AutoViT(AUTOVIT),
    'autovit, dense': lambda: AutoViT(AUTOVIT, out_indices=(0, 1, 2, 3), mbpool=False, out_norm_cfg={'type': 'LN2d'}),
    'autovit, transformers': lambda: AutoViT(
        {**{k: v for k, v in AUTOVIT.items() if k != 'conv_depths'}, 'transformer_only': True}
    ),
    'efficientnet-lite': lambda: EfficientNetLite(LITE),
    'efficientnet-lite, dense': lambda: EfficientNetLite(
        LITE, out_indices=(0, 1, 2, 3), head_conv=False, out_norm_cfg={'type': 'LN2d'}
    ),
    'convnext': lambda: ElasticConvNeXt(CONVNEXT, layer_scale_init_value=1.0),
    'convnext, dense': lambda: ElasticConvNeXt(CONVNEXT, out_indices=(0, 3), gap_before_final_norm=False, use_grn=True),
}


def trained(network: nn.Module) -> nn.Module:
    """The network with weights and statistics as training leaves them, none of which does nothing."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            low = 0.5 if name.endswith('running_var') else -0.2
            value.add_(torch.rand(value.shape, generator=generator) * 0.4 + low)
    return network.eval()


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('shape', [(2, 3, 64, 96), (1, 3, 100, 65)])
def test_computes_what_it_computed(name, shape):
    network = trained(NETWORKS[name]())
    deployed = copy.deepcopy(network)
    deployed.switch_to_deploy()
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for out, expected in zip(deployed(images), network(images), strict=True):
            assert (out - expected).norm() < 1e-5 * expected.norm()
            assert out.is_contiguous()


# behind the last stage a norm has no layer of the backbone to go into; LN2d is none that can be folded
LEFT = {
    'glnet': 1,
    'glnet, advanced': 1,
    'glnet, one branch': 1,
    'glnet, dense': 2,
    'glnet, other norms': 0,
    'glit': 0,
    'glit, map': 0,
    'autovit': 0,
    'autovit, dense': 0,
    'autovit, transformers': 0,
    'efficientnet-lite': 0,
    'efficientnet-lite, dense': 0,
    'convnext': 0,
    'convnext, dense': 0,
}


@pytest.mark.parametrize('name', NETWORKS)
def test_nothing_is_left_that_can_be_folded(name):
    network = NETWORKS[name]()
    network.switch_to_deploy()
    modules = list(network.modules())
    assert not network.training
    assert sum(isinstance(module, _BatchNorm) for module in modules) == LEFT[name]
    assert not any(isinstance(module, ResidualDepthwiseConv2d) and module.adds_input for module in modules)
    scales = sum(isinstance(module, LayerScale) for module in modules)
    assert scales == ('one branch' in name)  # of a block whose output has the normed map itself in it


def test_again_changes_nothing():
    network = trained(NETWORKS['glnet, advanced']())
    network.switch_to_deploy()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.switch_to_deploy()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_shared_weights_stay():
    network = trained(NETWORKS['autovit']())
    shared = dict(network.named_parameters())
    before = {key: value.detach().clone() for key, value in shared.items()}
    network.switch_to_deploy()
    assert all(torch.equal(value, before[key]) for key, value in shared.items())


def test_a_supernet_is_refused_and_left_as_it_is():
    case = next(case for case in supernet_cases.SMALL if 'autovit' in case.name)
    supernet, images = case.build().eval(), case.images().float()
    before = supernet(images)
    with pytest.raises(ValueError, match=r'has a supernet.*export one of its networks'):
        switch_to_deploy(nn.Sequential(supernet))
    torch.testing.assert_close(supernet(images), before)


def test_norm_in_front_of_a_padded_convolution_stays():
    norm, conv = nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, padding=1)
    assert fold_norm_before(norm, conv) is norm


class ActiveNorm(nn.BatchNorm2d):
    """A norm with an activation, as timm has one."""

    def forward(self, x):
        return super().forward(x).relu()


class StandardisedConv(nn.Conv2d):
    """A convolution that standardises its weights, as in weight standardisation (Qiao et al., 2019)."""

    def forward(self, x):
        return self._conv_forward(x, self.weight / self.weight.std((1, 2, 3), keepdim=True), self.bias)


class Doubled(nn.Sequential):
    """A sequence that does more than its layers."""

    def forward(self, x):
        return self[1](2 * self[0](x))


@pytest.mark.parametrize(
    'layers',
    [
        nn.Sequential(nn.Conv2d(3, 4, 1), ActiveNorm(4)),
        nn.Sequential(StandardisedConv(3, 4, 3), nn.BatchNorm2d(4)),
        nn.Sequential(StandardisedConv(3, 4, 1), nn.ReLU()),
        nn.Sequential(nn.BatchNorm2d(3), StandardisedConv(3, 4, 1)),
        Doubled(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)),
    ],
    ids=['norm', 'convolution', 'point-wise', 'behind a norm', 'sequence'],
)
def test_layers_of_others_that_do_more_stay(layers):
    """They are in networks of other libraries that an adapter makes backbones of ours."""
    network = trained(layers)
    deployed = copy.deepcopy(network)
    fold(deployed)
    packed.pack(deployed.to(memory_format=torch.channels_last))
    with torch.no_grad():
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(deployed(x), network(x))


def test_products_run_on_onednn_only_where_it_runs_them(monkeypatch):
    """In float32, without gradients; half types, float64, autocast and gradients take the plain layer."""
    calls = []
    monkeypatch.setattr(
        packed, '_onednn', lambda *args: calls.append(1) or F.linear(args[0], linear.weight, linear.bias)
    )
    linear = nn.Linear(4, 3)
    plain = copy.deepcopy(linear)
    packed.pack(holder := nn.Sequential(linear))
    x = torch.randn(2, 5, 4)
    torch.testing.assert_close(holder(x), plain(x))
    holder(x).sum().backward()
    assert linear.weight.grad is not None
    with torch.no_grad():
        with torch.autocast('cpu', torch.bfloat16):
            assert holder(x).dtype == torch.bfloat16
        assert holder.double()(x.double()).dtype == torch.float64
        assert not calls
        holder.float()(x)
    assert calls == [1] * packed.is_available()


def test_weights_that_change_are_packed_anew():
    network = nn.Sequential(nn.Linear(4, 3))
    packed.pack(network)
    other, x = nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 4)
    with torch.no_grad():
        network(x)
        network.load_state_dict(other.state_dict())
        torch.testing.assert_close(network(x), other(x))
        torch.testing.assert_close(copy.deepcopy(network)(x), other(x))
        network.double().float()
        torch.testing.assert_close(network(x), other(x))
