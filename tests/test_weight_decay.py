"""Which parameters decay under the optimizer of each config, parameter by parameter."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhybrid.apis.configs import load_config
from mmhybrid.models.build import on_meta
from mmhybrid.models.convert import convert
from mmhybrid.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
# searches train nothing
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts and 'search' not in path.name
)
# one of each schedule and of each kind of exempt parameter
QUICK = {
    'configs/autovit/autovit_s_cifar10.py',
    'configs/autovit/supernet_autovit_xxs_hard-regnety_in1k.py',
    'configs/demo/glit_det.py',
    'configs/demo/glnet_cls.py',
    'configs/demo/glnet_seg.py',
    'configs/glit/mask-rcnn_glit_tiny_1x_coco.py',
    'configs/glit/supernet_glit_tiny_distribution_in1k.py',
    'configs/glnet/glnet_4g_token-label_in1k.py',
    'configs/glnet/glnet_16g_in1k.py',
    'configs/glnet/glnet_small_imagenette.py',
    'configs/glnet/semantic-fpn_glnet_4g_80k_ade20k.py',
}
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
# parameters that are not weights of a layer
LOOSE = re.compile(r'(^|\.)(cls_token|pos_embed|scale\d\.gamma)(@[^.]*)?$')
SLOT_SCALE = re.compile(r'(^|\.)slots\.scale$')


def build(cfg: Config) -> nn.Module:
    """The model without values and without teacher."""
    model = dict(cfg.model)
    for name in ('teacher', 'distillation', 'pretrained'):
        model.pop(name, None)
    __import__(f'{cfg.default_scope}.models')
    with on_meta():
        return MODELS.build({**model, '_scope_': cfg.default_scope})


def is_exempt(model: nn.Module, name: str, token_labels: bool) -> bool:
    """The scale of the slots has no dimension: GLNet's rule spares one, timm's, for token labels, one or none."""
    if SLOT_SCALE.search(name):
        return token_labels
    path, _, last = name.rpartition('.')
    return isinstance(model.get_submodule(path), NORMS) or last == 'bias' or LOOSE.search(name) is not None


def test_quick_ones_exist() -> None:
    assert set(CONFIGS) >= QUICK


@pytest.mark.dense
@pytest.mark.parametrize(
    'path', [pytest.param(path, marks=() if path in QUICK else pytest.mark.slow) for path in CONFIGS]
)
def test_norms_biases_tokens_and_layer_scales_do_not_decay(path: str) -> None:
    cfg = load_config(str(ROOT / path))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = build(cfg)
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']}
    weight_decay = cfg.optim_wrapper.optimizer.weight_decay
    found = {name: decays[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    assert weight_decay > 0
    assert found == {name: 0 if is_exempt(model, name, 'token-label' in path) else weight_decay for name in found}
    has_slots = 'glnet' in path and 'ablation_local_' not in path
    assert any(map(SLOT_SCALE.search, found)) == has_slots


def released_rule(name: str, shape: Sequence[int]) -> bool:
    """Which parameters ``optim_factory.py`` of the released classification spares."""
    return len(shape) == 1 or name.endswith(('.bias', '.gamma', '.beta'))


def timm_rule(name: str, shape: Sequence[int]) -> bool:
    """Which ones timm 0.9's ``param_groups_weight_decay``, of the released token labelling, spares."""
    return len(shape) <= 1 or name.endswith('.bias')


@pytest.mark.parametrize(
    ('reference', 'config', 'spares'),
    [
        ('glnet_stl', 'glnet_stl_in1k', released_rule),
        ('glnet_4g', 'glnet_4g_in1k', released_rule),
        ('glnet_4g', 'glnet_4g_token-label_in1k', timm_rule),
    ],
)
def test_glnet_decays_what_the_released_code_decays(
    reference: str, config: str, spares: Callable[[str, Sequence[int]], bool]
) -> None:
    with np.load(ROOT / f'tests/data/reference/{reference}.npz') as data:
        shapes = json.loads(str(data['shapes']))
    released = {name: torch.zeros(shape) for name, shape in shapes.items()}
    names = {tensor.data_ptr(): name for name, tensor in released.items()}
    converted = convert(released, reference.partition('_')[2])['state_dict']
    theirs = {ours: names[tensor.data_ptr()] for ours, tensor in converted.items()}
    cfg = load_config(str(ROOT / f'configs/glnet/{config}.py'))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = build(cfg)
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']}
    ours = {name: decays[id(p)] for name, p in model.named_parameters() if name in theirs}
    assert len(ours) > 200
    expected = {name: 0 if spares(theirs[name], shapes[theirs[name]]) else 0.05 for name in ours}
    assert ours == expected
