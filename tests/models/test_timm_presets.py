"""The presets in timm, held against the checks of timm's own tests of models, which its wheel does not have."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mmhybrid.models.presets import PUBLISHED, Preset
from mmhybrid.registry import MODELS

timm = pytest.importorskip('timm')
import mmhybrid.timm  # noqa: E402, F401

QUICK = ('glit_tiny', 'autovit_xxs', 'efficientnetlite_lite1')


def parameters(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names]


NAMES = [f'{preset.family.lower()}_{preset.arch.replace("-", "_")}' for preset in PUBLISHED]
every_model = pytest.mark.parametrize('name', parameters(NAMES))
one_of_a_family = pytest.mark.parametrize('name', parameters(('glnet_4g', *QUICK)))


def preset_of(name: str) -> Preset:
    (found,) = [p for p in PUBLISHED if f'{p.family.lower()}_{p.arch.replace("-", "_")}' == name]
    return found


def images(name: str, batch: int = 1, channels: int = 3) -> Tensor:
    side = timm.get_pretrained_cfg(name).input_size[-1]
    return torch.rand(batch, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_all_presets_are_listed() -> None:
    assert {name for preset in PUBLISHED for name in timm.list_models(f'{preset.family.lower()}_*')} == {*NAMES}
    assert timm.is_model('glnet_4g')
    with pytest.raises(RuntimeError, match='No pretrained weights'):
        timm.create_model('autovit_xxs', pretrained=True)


@every_model
def test_forward_is_that_of_the_classifier_of_mmpretrain(name: str) -> None:
    """By tensors of the same names; parameters are as many as the table of presets counts."""
    from mmengine.registry import DefaultScope

    preset = preset_of(name)
    model = timm.create_model(name).eval()
    head = {'type': 'LinearClsHead', 'num_classes': 1000, 'in_channels': model.num_features}
    config = {'type': 'ImageClassifier', 'neck': {'type': 'GlobalAveragePooling'}, 'head': head}
    if preset.family == 'GLiT':
        config = {'type': 'ImageClassifier', 'head': {**head, 'type': 'VisionTransformerClsHead'}}
    backbone = {'type': f'mmhybrid.{preset.family}', 'arch': preset.arch}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        __import__('mmpretrain.models')
        theirs = MODELS.build({**config, 'backbone': backbone}).eval()
    theirs.load_state_dict(model.state_dict(), strict=True)
    inputs = images(name, 2)
    with torch.no_grad():
        outputs = model(inputs)
        expected = theirs(inputs)
        expected = expected[-1] if isinstance(expected, tuple) else expected
        logits = theirs.head.forward(theirs.extract_feat(inputs))
    assert outputs.shape == (2, 1000)
    assert not outputs.isnan().any()
    assert torch.allclose(outputs, logits, atol=1e-5)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in theirs.parameters())


@every_model
def test_backward_reaches_every_parameter(name: str) -> None:
    model = timm.create_model(name, num_classes=42).train()
    outputs = model(images(name, 2))
    outputs.mean().backward()
    assert outputs.shape == (2, 42)
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
    assert not any(parameter.grad.isnan().any() for parameter in model.parameters())


@every_model
def test_default_cfg(name: str) -> None:
    model = timm.create_model(name).eval()
    cfg, state = model.default_cfg, model.state_dict()
    inputs = images(name)
    assert f'{cfg["classifier"]}.weight' in state
    assert f'{cfg["first_conv"]}.weight' in state
    assert model.get_submodule(cfg['classifier']) is model.get_classifier()
    with torch.no_grad():
        features = model.forward_features(inputs)
        axis = -1 if features.ndim == 3 else 1
        assert features.shape[axis] == model.num_features
        if features.ndim == 4:
            assert tuple(features.shape[2:]) == tuple(cfg['pool_size'])
        model.reset_classifier(0)
        pooled = model(inputs)
        assert pooled.shape == (1, model.num_features)
        assert torch.equal(model.forward_head(features, pre_logits=True), pooled)
        model.reset_classifier(0, '')
        assert torch.equal(model(inputs), features)
        bare = timm.create_model(name, num_classes=0).eval()
        assert bare(inputs).shape == (1, model.num_features)
        assert bare.get_classifier().__class__ is nn.Identity
        assert timm.create_model(name, num_classes=0, global_pool='').eval()(inputs).shape == features.shape
    assert f'{cfg["classifier"]}.weight' not in bare.state_dict()


@every_model
def test_features(name: str) -> None:
    model = timm.create_model(name, features_only=True).eval()
    inputs = images(name, 2)
    outputs = model(inputs)
    assert [out.shape[1] for out in outputs] == model.feature_info.channels()
    sides = [-(-inputs.shape[-1] // stride) for stride in model.feature_info.reduction()]
    assert [out.shape[-1] for out in outputs] == sides
    assert all(out.shape[0] == 2 and not out.isnan().any() for out in outputs)
    count = len(outputs)
    few = timm.create_model(name, features_only=True, out_indices=(0, 2)).eval()
    assert few.feature_info.channels() == [few.feature_info.info[i]['num_chs'] for i in (0, 2)]
    assert len(few(inputs)) == 2 < count


@every_model
def test_intermediates_are_those_of_one_forward(name: str) -> None:
    model = timm.create_model(name).eval()
    inputs = images(name)
    with torch.no_grad():
        last, maps = model.forward_intermediates(inputs)
        assert torch.equal(last, model.forward_features(inputs))
        assert len(maps) == len(model.feature_info)
        assert torch.equal(model.forward_intermediates(inputs, indices=1, intermediates_only=True)[0], maps[-1])
        if last.ndim == 4:
            assert torch.equal(maps[-1], last)
        else:
            assert torch.equal(maps[-1].flatten(2).transpose(1, 2), last[:, 1:])


@one_of_a_family
def test_weights_go_through_files(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7).eval()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'a.pth')
    save_file(model.state_dict(), str(tmp_path / 'a.safetensors'))
    for path in ('a.pth', 'a.safetensors'):
        again = timm.create_model(name, num_classes=7, checkpoint_path=str(tmp_path / path)).eval()
        assert torch.equal(again(images(name)), model(images(name)))


@one_of_a_family
def test_options(name: str) -> None:
    one = timm.create_model(name, in_chans=1, num_classes=3, drop_rate=0.1, drop_path_rate=0.1).eval()
    assert one(images(name, channels=1)).shape == (1, 3)
    model = timm.create_model(name).train()
    model.set_grad_checkpointing()
    assert model.backbone.with_cp
    model(images(name, 2)).sum().backward()
    depth = model.group_matcher()
    assert depth(f'{model.default_cfg["first_conv"]}.weight') == 0
    assert depth(f'{model.default_cfg["classifier"]}.weight') == max(map(depth, model.state_dict())) > 5
    assert model.no_weight_decay() <= {parameter_name for parameter_name, _ in model.named_parameters()}
    with pytest.raises(ValueError, match='global_pool'):
        timm.create_model(name, global_pool='max')


@one_of_a_family
def test_other_sizes(name: str) -> None:
    side = {'glnet_4g': 160, 'glit_tiny': 160, 'autovit_xxs': 192, 'efficientnetlite_lite1': 160}[name]
    model = timm.create_model(name, img_size=side).eval()
    assert model(torch.rand(1, 3, side, side)).shape == (1, 1000)


class Touch:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('way', ['checkpoint_path', 'pretrained_cfg', 'pretrained_cfg_overlay'])
def test_timm_runs_nothing_that_a_checkpoint_names(tmp_path: Path, way: str, is_zip: bool) -> None:
    """It reads files itself, whatever network they are for."""
    path, trace = tmp_path / 'weights.pth', tmp_path / 'trace'
    content = {'state_dict': timm.create_model('autovit_xxs').state_dict(), 'extra': Touch(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    options = {way: str(path)} if way == 'checkpoint_path' else {way: {'file': str(path)}, 'pretrained': True}
    with pytest.raises(RuntimeError, match='weights_only'):
        timm.create_model('autovit_xxs', **options)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()
