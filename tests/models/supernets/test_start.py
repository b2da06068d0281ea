"""Supernets that begin as a trained network."""

import pytest
import torch
from mmengine.runner.checkpoint import save_checkpoint

from mmhybrid.models.layers.attention import SelfAttention
from mmhybrid.models.layers.order import sort_by_distance, sort_channels
from mmhybrid.models.supernets import Supernet
from mmhybrid.registry import MODELS

GLNET = {
    'space': {
        'type': 'mmhybrid.GLNetSpace',
        'widths': [[32], [32, 64], [64], [64, 96]],
        'depths': [[1], [1, 2], [1, 2], [1]],
        'ffn_ratios': [1, 2, 3],
        'num_slots': [9, 16, 25],
        'overlapped_patches': [True],
        'pos_encoding': [True],
        'conv_ffn': [False, True],
    },
    'backbone': {'type': 'mmhybrid.GLNet', 'out_indices': (0, 1, 2, 3)},
    'arch': {
        'embed_dims': [32, 32, 64, 64],
        'depths': [1, 2, 1, 1],
        'ffn_ratios': [2, 2, 2, 2],
        'mixers': ['glmix', ['glmix', 'local'], 'mhsa', 'mhsa'],
        'local_kernels': [3, 5, 5, 5],
        'num_slots': [16, 16, 64, 64],
        'overlapped_patches': True,
        'pos_encoding': True,
        'conv_ffn': True,
    },
}
GLIT = {
    'space': {'type': 'mmhybrid.GLiTSpace', 'embed_dims': 48, 'num_blocks': 2, 'num_heads': 3, 'level': 'flat'},
    'backbone': {'type': 'mmhybrid.GLiT', 'img_size': 64, 'out_type': 'raw'},
    'arch': {
        'embed_dims': 48,
        'num_heads': 3,
        'blocks': [
            {'num_attn_heads': 2, 'mlp_ratio': 4, 'qkv_ratio': 0.5, 'conv_ratio': 2, 'kernel_size': 17},
            {'num_attn_heads': 3, 'mlp_ratio': 4, 'qkv_ratio': 1},
        ],
    },
}
AUTOVIT = {
    'space': {
        'type': 'mmhybrid.AutoViTSpace',
        'table': {
            'stem_widths': [16, 24],
            'conv_widths': [[16, 24], [24, 32], [32, 48]],
            'conv_depths': [[1], [1, 2], [1, 2]],
            'widths': [[48, 64], [64, 80], [80, 96]],
            'num_stages': [3],
            'num_heads': [2, 3, 4],
            'depths': [1, 2, 3],
            'resolutions': [96],
        },
    },
    'backbone': {'type': 'mmhybrid.AutoViT'},
    'arch': {
        'stem_width': 16,
        'conv_widths': [16, 24, 48],
        'conv_depths': [1, 2, 1],
        'embed_dims': [48, 80, 96],
        'depths': [1, 2, 1],
        'num_heads': [2, 3, 2],
        'mlp_ratios': [2, 1.5, 2],
    },
}
LITE = {
    'space': {
        'type': 'mmhybrid.EfficientNetLiteSpace',
        'stem_widths': [8, 16],
        'widths': [[8], [8, 12], [16], [16], [24], [32], [32, 48]],
        'depths': [[1], [1, 2], [1, 2], [1], [1, 2], [1], [1]],
        'expand_ratios': [[1], *[[3, 4, 6]] * 6],
        'head_widths': [64],
    },
    'backbone': {'type': 'mmhybrid.EfficientNetLite'},
    'arch': {
        'stem_width': 8,
        'embed_dims': [8, 8, 16, 16, 24, 32, 48],
        'depths': [1, 2, 1, 1, 2, 1, 1],
        'kernel_sizes': [3, [3, 5], 5, 3, 5, 5, 3],
        'expand_ratios': [1, [6, 3], 6, 4, 6, 6, 6],
        'head_width': 64,
    },
}
CONVNEXT = {
    'space': {
        'type': 'mmhybrid.ElasticSpace',
        'around': {'depths': [2, 1, 3, 1], 'kernel_sizes': [7] * 4, 'hidden_widths': [32, 48, 64, 96]},
    },
    'backbone': {
        'type': 'mmhybrid.ElasticConvNeXt',
        'network': {'depths': [2, 1, 3, 1], 'channels': [8, 12, 16, 24]},
    },
    'arch': {
        'depths': [2, 1, 2, 1],
        'kernel_sizes': [7, 5, [7, 3], 7],
        'hidden_widths': [[32, 24], 48, 64, 96],
    },
}
IDS = ['glnet', 'glit', 'autovit', 'efficientnet-lite', 'convnext']
FAMILIES = pytest.mark.parametrize('family', [GLNET, GLIT, AUTOVIT, LITE, CONVNEXT], ids=IDS)


def trained(family, seed=0):
    """A network on its own, whose weights and statistics all do something."""
    network = MODELS.build({**family['backbone'], 'arch': family['arch']})
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            low = 0.5 if name.endswith('running_var') else -0.25
            value.copy_(torch.rand(value.shape, generator=generator) * 0.5 + low)
    return network.eval()


def started(family, folder, network, prefix='', separate=(), **options):
    weights = {prefix + name: value for name, value in network.state_dict().items()}
    save_checkpoint({'state_dict': weights}, str(folder / 'network.pth'))
    start = {'type': 'mmhybrid.FromNetwork', 'arch': family['arch'], 'checkpoint': str(folder / 'network.pth')}
    supernet = Supernet(family['space'], family['backbone'], separate, init_cfg={**start, **options})
    supernet.init_weights()
    return supernet.eval()


def images():
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@FAMILIES
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_computes_what_the_network_computed(family, prefix, tmp_path):
    network = trained(family)
    supernet = started(family, tmp_path, network, prefix, sort=False)
    with torch.no_grad():
        for out, expected in zip(supernet.subnet(images()), network(images()), strict=True):
            assert torch.equal(out, expected)


@pytest.mark.parametrize(
    ('family', 'dense'),
    [
        (GLNET, {'out_indices': (1, 3), 'out_norm_cfg': {'type': 'BN'}}),
        (GLIT, {'out_type': 'featmap', 'out_norm_cfg': {'type': 'LN2d'}}),
        (AUTOVIT, {'out_indices': (1, 2, 3), 'mbpool': False, 'out_norm_cfg': {'type': 'BN'}}),
        (LITE, {'out_indices': (1, 2, 3), 'head_conv': False, 'out_norm_cfg': {'type': 'BN'}}),
        (CONVNEXT, {'out_indices': (1, 2, 3), 'gap_before_final_norm': False}),
    ],
    ids=IDS,
)
def test_a_detector_begins_as_a_classifier(family, dense, tmp_path):
    """All but the norms behind the outputs, which a classifier does not have; those begin as in any network."""
    network = trained(family)
    supernet = started({**family, 'backbone': {**family['backbone'], **dense}}, tmp_path, network, sort=False)
    weights = supernet.subnet.state_dict()
    shared = network.state_dict().keys() & weights.keys()
    assert all(torch.equal(weights[name], network.state_dict()[name]) for name in shared)
    assert {name.split('.')[0] for name in network.state_dict().keys() - shared} <= {'norm', 'mbpool', 'head_conv'}
    new = [name for name in weights if name not in shared]
    # MMPretrain's ConvNeXt has one for each stage, of which a classifier's is the last
    norms = {'norm1', 'norm2'} if family is CONVNEXT else {'out_norms'}
    assert {name.split('.')[0] for name in new} == norms
    assert all((weights[name] == 1).all() for name in new if name.endswith('weight'))


def test_a_classifier_begins_as_a_detector(tmp_path):
    """MBPool, which a detector has none of, keeps the initial values that training would give it."""
    dense = {**AUTOVIT, 'backbone': {**AUTOVIT['backbone'], 'mbpool': False}}
    supernet = started(AUTOVIT, tmp_path, trained(dense), sort=False)
    weight = supernet.subnet.mbpool[0].weight
    assert float(weight.std()) == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.1)  # Kaiming, fan_in


AROUND = [
    GLNET,
    {**GLNET, 'arch': {**GLNET['arch'], 'learned_slots': True, 'layer_scale': 1e-4, 'head_dim': 16}},
    GLIT,
    {
        **GLIT,
        'arch': {
            **GLIT['arch'],
            'locality': 'window',
            'blocks': [{**GLIT['arch']['blocks'][0], 'kernel_size': 12}, GLIT['arch']['blocks'][1]],
        },
    },
    AUTOVIT,
    LITE,
    {**CONVNEXT, 'arch': CONVNEXT['space']['around']},
]


@pytest.mark.parametrize('family', AROUND, ids=['glnet', 'glnet-fixed', 'glit', 'glit-window', *IDS[2:]])
@pytest.mark.parametrize('sort', [False, True])
def test_begins_as_the_network_that_its_space_is_around(family, sort, tmp_path):
    """It is the largest subnet, so the sandwich rule trains it in each step, and the shared tensors are its own."""
    network = trained(family)
    space = {'type': family['space']['type'], 'around': family['arch']}
    supernet = started({**family, 'space': space}, tmp_path, network, sort=sort)
    assert supernet.arch == supernet.space.largest()
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert {name: tensor.shape for name, tensor in supernet.weights.state_dict().items()} == own
    with torch.no_grad():
        for out, expected in zip(supernet(images()), network(images()), strict=True):
            assert torch.equal(out, expected) or (sort and (out - expected).norm() < 1e-5 * expected.norm())
        supernet.set_arch(supernet.space.smallest())
        assert all(out.isfinite().all() for out in supernet(images()))


def test_candidates_with_weights_of_their_own_begin_as_the_network(tmp_path):
    network = trained(GLIT)
    supernet = started(GLIT, tmp_path, network, separate=['blocks'], sort=False)
    with torch.no_grad():
        assert torch.equal(supernet.subnet(images())[0], network(images())[0])


@FAMILIES
def test_sorting_changes_nothing_but_the_order(family, tmp_path):
    network = trained(family)
    supernet = started(family, tmp_path, network)
    changed = 0
    with torch.no_grad():
        for out, expected in zip(supernet.subnet(images()), network(images()), strict=True):
            assert (out - expected).norm() < 1e-5 * expected.norm()
        for name, tensor in supernet.subnet.state_dict().items():
            changed += not torch.equal(tensor, network.state_dict()[name])
    assert changed > 3


@pytest.mark.parametrize(
    ('family', 'smaller', 'share'),
    [
        (GLNET, {f'stages.{i}.ffn_ratio': 1 for i in range(4)}, 1 / 2),
        (GLIT, {'blocks.0.mlp_ratio': 2, 'blocks.1.mlp_ratio': 2}, 1 / 2),
        (AUTOVIT, {'stages.0.mlp_ratio': 1.5, 'stages.2.mlp_ratio': 1.5}, 3 / 4),
        (LITE, {f'stages.{i}.blocks.0.expand_ratio': 3 for i in (1, 2, 4, 5, 6)}, 1 / 2),
        (CONVNEXT, {f'stages.{i}.blocks.0.hidden_width': width for i, width in enumerate((16, 24, 32, 48))}, 1 / 2),
    ],
    ids=IDS,
)
def test_smaller_networks_keep_what_matters(family, smaller, share, tmp_path):
    """Some hidden channels of each FFN or MBConv do nothing: sorted, a network without as many computes the same."""
    network = trained(family)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, layer in network.named_modules():
            if name.endswith(('ffn.conv2', 'ffn.fc2', 'mlp.fc2', '.project.0', '.pointwise_conv2')):
                order = torch.randperm(layer.weight.shape[1], generator=generator)
                layer.weight[:, order[round(share * len(order)) :]] = 0
        expected = network(images())[-1]
        differences = []
        for sort in (True, False):
            supernet = started(family, tmp_path, network, sort=sort)
            supernet.set_arch({**supernet.arch, **smaller})
            differences.append(float((supernet.subnet(images())[-1] - expected).norm() / expected.norm()))
    assert differences[0] < 1e-5 < 1e-3 < differences[1]


def test_heads_that_matter_come_first():
    """A head whose values are not used goes to the end, and channels of queries that see no key within it."""
    attention = SelfAttention(8, 4, 2)
    with torch.no_grad():
        attention.proj.weight.view(8, 4, 2)[:, 1] = 0
        attention.qkv.weight.view(3, 4, 2, 8)[0, 3, 0] = 0
        x = torch.randn(2, 5, 8)
        before = attention(x)
        sort_channels(attention)
        torch.testing.assert_close(attention(x), before)
        assert attention.proj.weight.view(8, 4, 2)[:, 3].abs().sum() == 0
        queries = attention.qkv.weight.view(3, 4, 2, 8)[0]
        assert [bool(head[1].abs().sum() == 0) for head in queries].count(True) == 1
        assert all(head[0].abs().sum() > 0 for head in queries)


def test_slots_of_one_direction_come_last():
    vectors = torch.tensor([[1.0, 0], [3, 0], [0, 2], [-1, 0], [0.5, 0]])
    assert sort_by_distance(vectors)[:3].tolist() == [[3, 0], [-1, 0], [0, 2]]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'arch': '4g'}, 'init_cfg: the space has no network 4g'),
        ({'checkpoint': 'none.pth'}, 'checkpoint none.pth does not exist'),
        ({'checkpoint': 3}, r'init_cfg\.checkpoint: got 3'),
        ({'sort': 'yes'}, r'init_cfg\.sort'),
        ({'sorted': True}, 'sorted'),
    ],
)
def test_mistakes_are_named(change, message, tmp_path):
    save_checkpoint({'state_dict': trained(GLNET).state_dict()}, str(tmp_path / 'network.pth'))
    start = {'type': 'mmhybrid.FromNetwork', 'arch': GLNET['arch'], 'checkpoint': str(tmp_path / 'network.pth')}
    supernet = Supernet(GLNET['space'], GLNET['backbone'], init_cfg={**start, **change})
    with pytest.raises(ValueError, match=message):
        supernet.init_weights()


def test_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'fits nothing of GLNet'):
        started(GLNET, tmp_path, torch.nn.Linear(3, 4))
    part = trained(GLNET)
    del part.stages[3]
    with pytest.raises(ValueError, match=r'lacks stages\.3\.0'):
        started(GLNET, tmp_path, part)


@pytest.mark.parametrize('value', [3, torch.zeros(3)])
def test_one_weight_that_does_not_fit_is_named(value, tmp_path):
    weights = trained(GLNET).state_dict()
    name = next(iter(weights))
    file = str(tmp_path / 'network.pth')
    save_checkpoint({'state_dict': {**weights, name: value}}, file)
    start = {'type': 'mmhybrid.FromNetwork', 'arch': GLNET['arch'], 'checkpoint': file}
    with pytest.raises(ValueError, match=rf'init_cfg\.checkpoint: .* does not fit the network: .*{name}'):
        Supernet(GLNET['space'], GLNET['backbone'], init_cfg=start).init_weights()


def test_the_whole_model_begins_so(tmp_path):
    """Through the wrapper that trains it, which gives all of its layers their initial values; the head has its own."""
    network = trained(AUTOVIT)
    head = torch.nn.Linear(384, 4)
    weights = {f'backbone.{name}': value for name, value in network.state_dict().items()}
    weights |= {f'head.fc.{name}': value for name, value in head.state_dict().items()}
    file = str(tmp_path / 'classifier.pth')
    save_checkpoint({'state_dict': weights}, file)
    start = {'type': 'mmhybrid.FromNetwork', 'arch': AUTOVIT['arch'], 'checkpoint': file, 'sort': False}
    backbone = {'type': 'mmhybrid.Supernet', 'space': AUTOVIT['space'], 'backbone': AUTOVIT['backbone']}
    model = MODELS.build(
        {
            '_scope_': 'mmpretrain',
            'type': 'mmhybrid.OneShot',
            'mutator': {'type': 'mmhybrid.UniformMutator', 'seed': 0},
            'architecture': {
                'type': 'mmpretrain.ImageClassifier',
                'backbone': {**backbone, 'init_cfg': start},
                'neck': {'type': 'GlobalAveragePooling'},
                'head': {
                    'type': 'LinearClsHead',
                    'num_classes': 4,
                    'in_channels': 384,
                    'init_cfg': {'type': 'Pretrained', 'checkpoint': file, 'prefix': 'head.'},
                },
            },
        }
    )
    model.init_weights()
    with torch.no_grad():
        logits = model.eval()(images())
        features = network(images())[-1].mean((2, 3))
        torch.testing.assert_close(logits, head(features))
