"""The variants of GLNet's tables 6 and 7."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmhybrid.counting.complexity import count_complexity
from mmhybrid.models.backbones.glnet import GLNet, GLNetArch
from mmhybrid.models.build import on_meta
from mmhybrid.models.layers.attention import SelfAttention
from mmhybrid.models.layers.glmix import WindowAttention

ROOT = Path(__file__).resolve().parents[3]
SMALL = {'embed_dims': [32] * 4, 'depths': [1] * 4, 'ffn_ratios': [1] * 4}
ABLATIONS = sorted((ROOT / 'configs/glnet').glob('ablation_*.py'))


def published(path):
    text = re.search(r'Published: ([\d.]+) % top-1, ([\d.]+) M parameters, ([\d.]+) G FLOPs', path.read_text())
    return [float(group) for group in text.groups()]


@pytest.mark.parametrize('path', ABLATIONS, ids=lambda path: path.stem)
def test_sizes_are_the_published_ones(path):
    """Within 3 %, as are the figures of the tables, of two or three digits."""
    init_default_scope('mmpretrain')
    with on_meta():
        model = MODELS.build(Config.fromfile(path).model)
    cost = count_complexity(model, (3, 224, 224))
    _, params, flops = published(path)
    assert cost.params / 1e6 == pytest.approx(params, rel=0.03)
    assert cost.macs / 1e9 == pytest.approx(flops, rel=0.03)


def test_every_row_is_there():
    """Table 6 without the k-means row, GLNet-STL and the learned slots; table 7 without its first and last row."""
    top1 = sorted(published(path)[0] for path in ABLATIONS)
    table_6 = [81.8, 78.0, 80.6, 79.6, 81.1, 82.4, 82.4, 81.9, 82.1, 82.3, 82.3, 82.4]
    table_7 = [82.7, 83.1, 83.2, 83.5]
    assert top1 == sorted(table_6 + table_7)


def attention(window_size):
    torch.manual_seed(0)
    return WindowAttention(64, 32, window_size).eval()


def test_windows_attend_on_their_own():
    model, x = attention(3), torch.randn(2, 64, 6, 9)
    with torch.no_grad():
        out = model(x)
        for top in (0, 3):
            for left in (0, 3, 6):
                window = x[:, :, top : top + 3, left : left + 3].flatten(2).transpose(1, 2)
                expected = SelfAttention.forward(model, window).transpose(1, 2).reshape(2, 64, 3, 3)
                assert torch.allclose(out[:, :, top : top + 3, left : left + 3], expected, atol=1e-6)


def test_maps_of_any_size_are_padded_with_zeros():
    model, x = attention(7), torch.randn(1, 64, 9, 5)
    padded = torch.zeros(1, 64, 14, 7)
    padded[:, :, :9, :5] = x
    with torch.no_grad():
        assert torch.allclose(model(x), model(padded)[:, :, :9, :5], atol=1e-6)


def block(mixer):
    torch.manual_seed(0)
    arch = {
        'embed_dims': [32] * 4,
        'depths': [1] * 4,
        'ffn_ratios': [1] * 4,
        'mixers': [mixer] * 4,
        'num_slots': [4] * 4,
    }
    return GLNet(arch).eval().stages[0][0].mixer


@pytest.mark.parametrize('mixer', ['global-local', 'local-global'])
def test_sequential_branches(mixer):
    model, x, block_input = block(mixer), torch.randn(2, 32, 8, 8), torch.randn(2, 32, 8, 8)
    start = model.slots.initial_slots(block_input)
    with torch.no_grad():
        out = model(x, block_input)
        behind = {
            'global-local': model.local(model.slots(x, start)),
            'local-global': model.slots(model.local(x), start),
        }
        parallel = model.local(x) + model.slots(x, start)
    assert torch.equal(out, behind.pop(mixer))
    assert not torch.allclose(out, parallel)
    assert not torch.allclose(out, *behind.values())


def test_window_branch_is_added():
    model, x = block('window-global'), torch.randn(2, 32, 8, 8)
    with torch.no_grad():
        expected = model.local(x) + model.slots(x, model.slots.initial_slots(x))
        assert isinstance(model.local, WindowAttention)
        assert torch.allclose(model(x, x), expected, atol=1e-6)


def test_unknown_mixer():
    with pytest.raises(ValueError, match=r'arch\.mixers.*window-global'):
        GLNetArch.parse({**SMALL, 'mixers': ['k-means'] * 4})


def test_global_branch_alone_adds_the_normed_map():
    """The released class puts an identity in the place of the convolutions (``local_dw_ks=0``)."""
    model, x, block_input = block('global'), torch.randn(2, 32, 8, 8), torch.randn(2, 32, 8, 8)
    assert model.local is None
    with torch.no_grad():
        expected = model.slots(x, model.slots.initial_slots(block_input)) + x
        assert torch.allclose(model(x, block_input), expected, atol=1e-6)
