"""Initial values as the released code draws them: linear layers normal (0.02), convolutions as torch does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mmhybrid.apis.configs import load_config
from mmhybrid.models.backbones.glnet import GLNet
from mmhybrid.models.build import on_meta

ROOT = Path(__file__).resolve().parents[3]
# those whose last stage is the released class's ``mha``, with linear layers in its FFN: the layout of Swin without
# the position encoding, which only the class of blocks with convolutions has
LINEAR = {
    'glnet_stl_in1k', 'glnet_stl-paramslot_in1k', 'ablation_overlapped-patches_in1k', 'ablation_hybrid-stage-3_in1k',
    *(f'ablation_{name}_in1k' for name in ('local', 'global', 'global-local', 'local-global', 'window')),
    *(f'ablation_kernel-{size}_in1k' for size in (3, 7)),
    *(f'ablation_slots-{count}_in1k' for count in (9, 25, 36, 49, 81)),
}  # fmt: skip
CONVOLUTIONS = {
    'glnet_4g_in1k', 'glnet_9g_in1k', 'glnet_16g_in1k', 'ablation_position-encoding_in1k', 'ablation_deeper_in1k',
    'glnet_small_imagenette',
}  # fmt: skip
# the published layouts, narrow and shallow
SMALL = {'embed_dims': [32, 64, 64, 64], 'depths': [1, 1, 2, 1], 'ffn_ratios': [2] * 4}


def small(arch: str | dict[str, Any]) -> dict[str, Any]:
    """A network of the same kind that is quick to build."""
    full = GLNet(arch).arch if isinstance(arch, str) else GLNet({**arch}).arch
    mixers = [list(stage[:depth]) for stage, depth in zip(full.mixers, SMALL['depths'], strict=True)]
    flags = ('learned_slots', 'overlapped_patches', 'pos_encoding', 'conv_ffn')
    return {**SMALL, 'mixers': mixers, **{flag: getattr(full, flag) for flag in flags}}


def is_normal(conv: torch.nn.Conv2d) -> bool:
    """Drawn by the rule of linear layers; torch's own is uniform within 1 / sqrt(inputs), the bias too."""
    assert conv.bias is not None
    bound = conv.weight[0].numel() ** -0.5
    blank, beyond = bool((conv.bias == 0).all()), bool((conv.weight.abs() > bound).any())
    narrow = abs(conv.weight.std().item() - 0.02) < 0.002
    assert blank == narrow  # no third rule
    assert not beyond or blank
    return blank


@pytest.mark.parametrize('name', sorted(LINEAR | CONVOLUTIONS))
def test_ffns_of_the_published_networks(name: str) -> None:
    torch.manual_seed(0)
    with on_meta():
        arch = small(load_config(str(ROOT / f'configs/glnet/{name}.py')).model.backbone.arch)
    model = GLNet(arch)
    model.init_weights()
    linear = [
        [is_normal(conv) for block in stage.children() for conv in (block.ffn.conv1, block.ffn.conv2)]
        for stage in model.stages
    ]
    assert not any(any(stage) for stage in linear[:3])
    assert set(linear[3]) == {name in LINEAR}


def test_every_published_recipe_is_listed() -> None:
    names = {path.stem for path in (ROOT / 'configs/glnet').glob('*_in1k.py')}
    others = ('search', 'supernet', 'glnet-4g_')  # the last are recipes with a teacher, which no paper has
    trained = {name for name in names if not name.startswith(others) and 'token-label' not in name}
    assert trained <= LINEAR | CONVOLUTIONS
