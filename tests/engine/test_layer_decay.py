"""Layer-wise learning-rate decay in all three hosts, parameter by parameter."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhybrid.apis.configs import load_config
from mmhybrid.models.build import on_meta
from mmhybrid.models.one_shot import OneShot
from mmhybrid.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
TYPE = 'mmhybrid.LayerDecayOptimWrapperConstructor'
RATE = 0.5
LR = 2.0**-4  # powers of two: products are exact
WEIGHT_DECAY = 0.0625

GLNET = {
    'type': 'mmhybrid.GLNet',
    'arch': {
        'embed_dims': [32, 32, 64, 64],
        'depths': [1, 1, 2, 1],
        'ffn_ratios': [2, 2, 2, 2],
        'mixers': ['glmix', 'glmix', ['glmix', 'mhsa'], 'mhsa'],
        'overlapped_patches': True,
        'pos_encoding': True,
        'conv_ffn': True,
        'layer_scale': 0.1,
    },
}
GLIT = {
    'type': 'mmhybrid.GLiT',
    'arch': {
        'embed_dims': 48,
        'num_heads': 3,
        'blocks': [
            {'num_attn_heads': 3, 'mlp_ratio': 2, 'qkv_ratio': 1},
            {'num_attn_heads': 0, 'mlp_ratio': 2, 'conv_ratio': 1, 'kernel_size': 5},
        ],
    },
    'img_size': 64,
}
AUTOVIT = {
    'type': 'mmhybrid.AutoViT',
    'arch': {
        'stem_width': 8,
        'conv_widths': [8, 16, 24],
        'conv_depths': [1, 1, 2],
        'embed_dims': [32, 48, 64],
        'depths': [1, 2, 1],
        'num_heads': [1, 2, 3],
        'mlp_ratios': [1.5, 2, 2],
    },
}
BACKBONES = {'glnet': GLNET, 'glit': GLIT, 'autovit': AUTOVIT}
SPACE = {'type': 'mmhybrid.GLiTSpace', 'embed_dims': 48, 'num_blocks': 2, 'level': 'distribution'}
SUPERNET = {
    'type': 'mmhybrid.Supernet',
    'space': SPACE,
    'backbone': {'type': 'mmhybrid.GLiT', 'img_size': 64},
    'separate': ['blocks'],
}
# depth by what the name begins with; the first that matches counts
DEPTHS = {
    'glnet': {
        r'downsamplers\.0': 0,
        r'(downsamplers\.1|stages\.1)\.': 2,
        r'stages\.0\.': 1,
        r'(downsamplers\.2|stages\.2\.0)\.': 3,
        r'stages\.2\.1\.': 4,
        r'(downsamplers\.3|stages\.3)\.': 5,
        '': 6,
    },
    'glit': {'patch_embed|cls_token|pos_embed': 0, r'blocks\.0': 1, r'blocks\.1': 2, '': 3},
    'autovit': {
        'stem': 0,
        r'conv_stages\.0': 1,
        r'conv_stages\.1': 2,
        r'conv_stages\.2\.0': 3,
        r'conv_stages\.2\.1': 4,
        r'transformer_stages\.0\.(down|local|proj_in)': 5,
        r'transformer_stages\.0': 6,
        r'transformer_stages\.1\.(down|local|proj_in)': 7,
        r'transformer_stages\.1\.layers\.0': 8,
        r'transformer_stages\.1': 9,
        r'transformer_stages\.2\.(down|local|proj_in)': 10,
        r'transformer_stages\.2': 11,
        'mbpool': 12,
        '': 13,
    },
}
# parameters that are not weights of a layer, and must not decay
LOOSE = re.compile(r'(^|\.)(cls_token|pos_embed|scale\d\.gamma)$')
SCHEDULES = {
    'classifier': 'imagenet_adamw_300e',
    'detector': 'coco_adamw_1x',
    'segmentor': 'ade_adamw_160k',
}
HOSTS = {'classifier': 'mmpretrain', 'detector': 'mmdet', 'segmentor': 'mmseg'}


def dense(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone, and a single map of its as what a neck or a head takes."""
    changes: dict[str, Any] = {'out_indices': (-1,), 'out_norm_cfg': {'type': 'LN2d'}}
    if backbone['type'] == 'mmhybrid.GLiT':
        changes['out_type'] = 'featmap'
    return {**backbone, **changes}


def out_channels(backbone: Mapping[str, Any]) -> int:
    with on_meta():
        return MODELS.build(dict(backbone))(torch.empty(2, 3, 64, 64))[-1].shape[1]


def classifier(backbone: Mapping[str, Any]) -> dict[str, Any]:
    pooled = {} if backbone is GLIT else {'neck': {'type': 'GlobalAveragePooling'}}
    head = {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': out_channels(backbone)}
    return {'type': 'ImageClassifier', 'backbone': dict(backbone), **pooled, 'head': head}


def detector(backbone: Mapping[str, Any]) -> dict[str, Any]:
    backbone = dense(backbone)
    cfg = Config.fromfile(str(ROOT / 'configs/glit/retinanet_glit_tiny_1x_coco.py')).model
    cfg.neck.update(in_channels=out_channels(backbone), out_channels=16)
    cfg.bbox_head.update(in_channels=16, feat_channels=16, num_classes=3)
    return {**cfg, 'backbone': backbone}


def segmentor(backbone: Mapping[str, Any]) -> dict[str, Any]:
    backbone = dense(backbone)
    head = {'type': 'FCNHead', 'in_channels': out_channels(backbone), 'in_index': 0, 'channels': 8, 'num_classes': 3}
    test = {'train_cfg': {}, 'test_cfg': {'mode': 'whole'}}
    return {'type': 'EncoderDecoder', 'backbone': backbone, 'decode_head': head, **test}


MAKERS = {'classifier': classifier, 'detector': detector, 'segmentor': segmentor}


def build(kind: str, cfg: Mapping[str, Any]) -> nn.Module:
    host = HOSTS[kind]
    __import__(f'{host}.models')
    with DefaultScope.overwrite_default_scope(host):
        return MODELS.build({**cfg, '_scope_': host})


def settings(model: nn.Module, wrapper: Mapping[str, Any], host: str = 'mmpretrain') -> dict[str, dict[str, Any]]:
    """The settings of each parameter's group, by the parameter's name."""
    with DefaultScope.overwrite_default_scope(host):
        optimizer = build_optim_wrapper(model, Config(dict(wrapper))._cfg_dict).optimizer
    names = {parameter: name for name, parameter in model.named_parameters()}
    grouped = [(names[parameter], group) for group in optimizer.param_groups for parameter in group['params']]
    found = dict(grouped)
    assert len(grouped) == len(found)
    assert found.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return found


def wrapper(**paramwise: Any) -> dict[str, Any]:
    optimizer = {'type': 'AdamW', 'lr': LR, 'weight_decay': WEIGHT_DECAY}
    paramwise = {'layer_decay_rate': RATE, **paramwise}
    return {'type': 'OptimWrapper', 'constructor': TYPE, 'optimizer': optimizer, 'paramwise_cfg': paramwise}


def is_exempt(model: nn.Module, name: str) -> bool:
    """Whether a parameter must not decay: one of a norm, a bias, a token, a layer scale."""
    path, _, last = name.rpartition('.')
    norms = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
    return isinstance(model.get_submodule(path), norms) or last == 'bias' or LOOSE.search(name) is not None


def depth_of(family: str, name: str, prefix: str) -> int:
    depths = DEPTHS[family]
    if not name.startswith(prefix):
        return depths['']
    return next(depth for pattern, depth in depths.items() if re.match(pattern, name.removeprefix(prefix)))


@pytest.mark.parametrize('family', BACKBONES)
@pytest.mark.parametrize(
    'kind',
    [
        'classifier',
        pytest.param('detector', marks=pytest.mark.dense),
        pytest.param('segmentor', marks=pytest.mark.dense),
    ],
)
def test_every_parameter(family: str, kind: str) -> None:
    model = build(kind, MAKERS[kind](BACKBONES[family]))
    paramwise = Config.fromfile(
        str(ROOT / f'configs/_base_/schedules/{SCHEDULES[kind]}.py')
    ).optim_wrapper.paramwise_cfg
    found = settings(model, wrapper(**paramwise), HOSTS[kind])
    last = DEPTHS[family]['']
    for name, group in found.items():
        assert group['lr'] == LR * RATE ** (last - depth_of(family, name, 'backbone.')), name
        assert group['weight_decay'] == (0 if is_exempt(model, name) else WEIGHT_DECAY), name
    assert {group['lr'] for group in found.values()} == {LR * RATE**i for i in range(last + 1)}


def one_shot(**overrides: Any) -> OneShot:
    cfg = {**classifier(GLIT), 'backbone': {**SUPERNET, **overrides}}
    return build('classifier', {'type': 'mmhybrid.OneShot', 'mutator': {'type': 'UniformMutator'}, 'architecture': cfg})


@pytest.mark.parametrize('separate', [['blocks'], []], ids=['single_path', 'shared'])
def test_supernet(separate: list[str]) -> None:
    """Every candidate of a block is as deep as the block."""
    model = one_shot(separate=separate)
    found = settings(model, wrapper())
    for name, group in found.items():
        depth = depth_of('glit', name, 'architecture.backbone.weights.')
        assert group['lr'] == LR * RATE ** (3 - depth), name
    blocks = {name.split('.')[4] for name in found if '.blocks.' in name}
    assert len(blocks) == (8 if separate else 2)


def test_rate_1_is_mmengines_constructor() -> None:
    model = build('classifier', classifier(GLNET))
    paramwise = {
        'norm_decay_mult': 0.0,
        'bias_decay_mult': 0.5,
        'bias_lr_mult': 2.0,
        'dwconv_decay_mult': 0.25,
        'flat_decay_mult': 0.0,
        'custom_keys': {'head': {'lr_mult': 8.0}, '.gamma': {'decay_mult': 0.0, 'lr_mult': 0.5}},
    }
    ours = settings(model, wrapper(**paramwise, layer_decay_rate=1.0))
    plain = {**wrapper(), 'paramwise_cfg': paramwise}
    del plain['constructor']
    theirs = settings(model, plain)
    assert {name: (g['lr'], g['weight_decay']) for name, g in ours.items()} == {
        name: (g['lr'], g['weight_decay']) for name, g in theirs.items()
    }


def test_decay_and_lr_mult_multiply() -> None:
    model = build('classifier', classifier(GLIT))
    found = settings(model, wrapper(custom_keys={'blocks.0': {'lr_mult': 8.0}, 'head': {'lr_mult': 4.0}}))
    assert found['backbone.blocks.0.ffn.fc1.weight']['lr'] == LR * 8 * RATE**2
    assert found['backbone.blocks.1.ffn.fc1.weight']['lr'] == LR * RATE
    assert found['head.fc.weight']['lr'] == LR * 4


def test_parameters_of_the_same_settings_share_a_group() -> None:
    model = build('classifier', classifier(GLIT))
    groups = settings(model, wrapper(norm_decay_mult=0.0, bias_decay_mult=0.0)).values()
    assert len({id(group) for group in groups}) == 4 * 2  # depths, with and without decay


def test_frozen_parameters_have_no_group() -> None:
    model = build('classifier', classifier({**GLIT, 'frozen_stages': 1}))
    found = settings(model, wrapper())
    assert not any(name.startswith(('backbone.patch_embed', 'backbone.blocks.0')) for name in found)
    assert found['backbone.blocks.1.ffn.fc1.weight']['lr'] == LR * RATE


def test_a_layer_used_twice_is_updated_once() -> None:
    model = build('classifier', classifier(GLIT))
    model.twin = model.head
    assert settings(model, wrapper())['head.fc.weight']['lr'] == LR


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'paramwise_cfg': None}, 'paramwise_cfg: missing layer_decay_rate'),
        ({'paramwise_cfg': {'norm_decay_mult': 0.0}}, 'paramwise_cfg: missing layer_decay_rate'),
        ({'paramwise_cfg': {'layer_decay_rate': 0.5, 'norm_mult': 0.0}}, 'surplus norm_mult'),
        *(
            ({'paramwise_cfg': {'layer_decay_rate': rate}}, 'layer_decay_rate: got .* allowed: a number > 0')
            for rate in (0, -1.0, 1.5, True, '0.5', float('nan'))
        ),
        ({'optimizer': {'type': 'AdamW'}}, 'optimizer.lr: got None, allowed: a number >= 0'),
    ],
    ids=str,
)
def test_mistakes(changes: Mapping[str, Any], sentence: str) -> None:
    model = build('classifier', classifier(GLIT))
    with pytest.raises(ValueError, match=sentence):
        settings(model, {**wrapper(), **changes})


def test_models_without_depths() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match='allowed: a model with a backbone'):
        settings(model, wrapper())


def test_a_scheduled_step_keeps_the_multipliers() -> None:
    from mmengine.optim import CosineAnnealingLR

    model = build('classifier', classifier(GLIT))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        optim_wrapper = build_optim_wrapper(model, Config(wrapper())._cfg_dict)
    scheduler = CosineAnnealingLR(optim_wrapper, T_max=4, eta_min=0.0)
    before = [group['lr'] for group in optim_wrapper.param_groups]
    optim_wrapper.step()
    scheduler.step()
    after = [group['lr'] for group in optim_wrapper.param_groups]
    factors = {round(b / a, 6) for a, b in zip(before, after, strict=True)}
    assert len(factors) == 1
    assert optim_wrapper.get_lr()['base_lr'] == [pytest.approx(LR * factors.pop(), rel=1e-5)]


def test_leaf_configs_use_it() -> None:
    """It is found by name in a config of every host."""
    for path in ('autovit/autovit_s_cifar10', 'glit/mask-rcnn_glit_tiny_1x_coco', 'glit/upernet_glit_tiny_160k_ade20k'):
        assert load_config(str(ROOT / f'configs/{path}.py')).optim_wrapper.constructor == TYPE
