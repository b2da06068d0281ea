"""Weights of which nothing fits are refused, with the names of both sides."""

import pytest
import torch
from mmengine.logging import MMLogger

from mmhybrid.models.backbones.autovit import AutoViT
from mmhybrid.models.checkpoint_fit import check_fit
from mmhybrid.models.checkpoints import weights_of

ARCH = {
    'stem_width': 8,
    'conv_widths': [8, 8, 16],
    'conv_depths': [1, 1, 1],
    'embed_dims': [16, 16, 32],
    'depths': [1, 1, 1],
    'num_heads': [1, 2, 1],
    'mlp_ratios': [1.5, 2, 2],
}


def save(path, weights, key='state_dict'):
    torch.save({key: weights} if key else weights, path)
    return str(path)


def build(init_cfg=None):
    network = AutoViT(ARCH, init_cfg=init_cfg)
    network.init_weights()
    return network


def prefixed(prefix):
    return {prefix + name: value for name, value in build().state_dict().items()}


@pytest.mark.parametrize('prefix', ['backbone.', '_orig_mod.', 'model.encoder.'])
def test_initial_weights_behind_another_prefix(prefix, tmp_path):
    path = save(tmp_path / 'a.pth', prefixed(prefix))
    with pytest.raises(ValueError, match=f"fits nothing of AutoViT: it has {prefix}stem.*begin with '{prefix}'"):
        build({'type': 'Pretrained', 'checkpoint': path})


def test_initial_weights_that_lack_the_prefix(tmp_path):
    path = save(tmp_path / 'a.pth', prefixed('backbone.'))
    with pytest.raises(ValueError, match=r"has no name that begins with the prefix 'module.'; it has backbone.stem"):
        build([{'type': 'Pretrained', 'checkpoint': path, 'prefix': 'module'}])


@pytest.mark.parametrize('key', ['state_dict', None])
def test_initial_weights_that_fit(key, tmp_path):
    weights = prefixed('backbone.')
    path = save(tmp_path / 'a.pth', weights, key)
    network = build({'type': 'Pretrained', 'checkpoint': path, 'prefix': 'backbone'})
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[f'backbone.{name}'])


def test_the_model_has_the_prefix():
    model = torch.nn.ModuleDict({'backbone': torch.nn.Linear(2, 3)})
    with pytest.raises(ValueError, match=r"names of ModuleDict begin with 'backbone.'"):
        check_fit(model, torch.nn.Linear(2, 3).state_dict(), 'load_from: a.pth')


def test_names_fit_and_shapes_do_not():
    with pytest.raises(ValueError, match=r'bias has \(5,\) values in the one and \(3,\) in the other'):
        check_fit(torch.nn.Linear(2, 3), torch.nn.Linear(4, 5).state_dict(), 'load_from: a.pth')


def test_a_released_file_is_no_state_dict():
    with pytest.raises(ValueError, match='it has model, optimizer'):
        check_fit(torch.nn.Linear(2, 3), weights_of({'model': {}, 'optimizer': {}}), 'load_from: a.pth')


def test_a_partial_fit_lists_what_is_left_out(monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', said.append)
    check_fit(torch.nn.Linear(2, 3), {'weight': torch.zeros(3, 2), 'head': torch.zeros(1)}, 'a.pth')
    assert said == ['a.pth fits in part: Linear keeps its own bias', 'a.pth fits in part: the file has head besides']
