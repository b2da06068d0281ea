"""Features of a teacher, and backbones and supernets that learn them from images without labels."""

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from torch import nn
from torch.nn import functional as F

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.training import train
from mmhybrid.models.feature_distillation import FeatureDistiller
from mmhybrid.models.teachers import Teacher
from mmhybrid.registry import MODELS

SPACE = {
    'type': 'mmhybrid.EfficientNetLiteSpace',
    'resolutions': [32, 64],
    'stem_widths': [8],
    'widths': [[8], [8], [8], [8, 12], [8], [16], [16, 24]],
    'depths': [[1], [1, 2], [1], [1], [1], [1], [1]],
    'expand_ratios': [[1], *[[2, 4]] * 6],
    'head_widths': [16, 32],
}
SUPERNET = {'type': 'mmhybrid.Supernet', 'space': SPACE, 'backbone': {'type': 'mmhybrid.EfficientNetLite'}}
RESNET = {'type': 'mmpretrain.ResNet', 'depth': 18, 'base_channels': 8, 'stem_channels': 8}
NORMED = {'mean': [100.0, 110.0, 120.0], 'std': [50.0, 60.0, 70.0], 'to_rgb': True}
TEACHER = f"""
default_scope = 'mmpretrain'
data_preprocessor = dict(mean=[90.0, 100.0, 110.0], std=[55.0, 65.0, 75.0], to_rgb=False)
model = dict(
    type='ImageClassifier',
    backbone={RESNET!r},
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=64))
"""


@pytest.fixture(autouse=True)
def _start() -> None:
    torch.manual_seed(0)
    MessageHub.get_current_instance().update_info('iter', 0)


@torch.no_grad()
def trained(module: nn.Module) -> nn.Module:
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = 0.5 * torch.randn(tensor.shape) * (tensor.std(correction=0) + 0.2)
            tensor.add_(noise.abs() if 'var' in name else noise)
    module.eval()
    return module


@pytest.fixture
def teacher(tmp_path: Path) -> dict[str, str]:
    """A small ResNet of MMPretrain."""
    (tmp_path / 'teacher.py').write_text(TEACHER)
    cfg = Config.fromfile(tmp_path / 'teacher.py')
    model = trained(MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor, '_scope_': 'mmpretrain'}))
    torch.save(model.state_dict(), tmp_path / 'teacher.pth')
    return {'config': str(tmp_path / 'teacher.py'), 'checkpoint': str(tmp_path / 'teacher.pth')}


def pixels(side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, side, side), generator=torch.Generator().manual_seed(1)).float()


# Teachers


@pytest.mark.parametrize('size', [None, 96])
def test_the_classifier_of_mmpretrain_makes_its_logits_of_pooled_features(teacher: Any, size: int | None) -> None:
    taught = Teacher(**teacher, size=size)
    pooled, maps = taught.features(pixels(), 'pooled'), taught.features(pixels(), 'maps')
    torch.testing.assert_close(taught.model.head.fc(pooled), taught.logits(pixels()))
    torch.testing.assert_close(maps.mean((2, 3)), pooled)
    side = (size or 64) // 32
    assert maps.shape == (3, 64, side, side)
    assert taught.feature_width('maps') == taught.feature_width('pooled') == 64


@pytest.mark.parametrize(
    ('name', 'shape'),
    [
        ('convnext_atto', (3, 320, 7, 7)),
        ('vit_tiny_patch16_224', (3, 192, 14, 14)),
        ('mobilenetv3_small_050', (3, 288, 7, 7)),
    ],
)
@pytest.mark.torchvision
def test_the_classifier_of_timm_makes_its_logits_of_pooled_features(name: str, shape: Any, tmp_path: Path) -> None:
    """Of a convolutional network, a transformer, and one with a convolution behind the mean."""
    timm = pytest.importorskip('timm')
    model = timm.create_model(name)
    nn.init.normal_(model.get_classifier().weight)
    torch.save(model.state_dict(), tmp_path / 'teacher.pth')
    taught = Teacher(str(tmp_path / 'teacher.pth'), timm=name)
    pooled = taught.features(pixels(64), 'pooled')
    with torch.no_grad():
        torch.testing.assert_close(taught.model.get_classifier()(pooled), taught.logits(pixels(64)))
    assert taught.feature_width('pooled') == pooled.shape[1]
    assert taught.features(pixels(64), 'maps').shape == shape


def test_tokens_without_places_are_no_maps(teacher: Any) -> None:
    text = Path(teacher['config']).read_text().replace(repr(RESNET), "dict(type='VisionTransformer', arch='deit-tiny')")
    text = text.replace("neck=dict(type='GlobalAveragePooling')", 'neck=None').replace('64)', '192)')
    Path(teacher['config']).write_text(text)
    cfg = Config.fromfile(teacher['config'])
    torch.save(MODELS.build({**cfg.model, '_scope_': 'mmpretrain'}).state_dict(), teacher['checkpoint'])
    taught = Teacher(**teacher, size=224)
    assert taught.feature_width('pooled') == 192
    with pytest.raises(ValueError, match=r"features: got 'maps', allowed: 'pooled', if that is .*\(1, 192\)"):
        taught.feature_width('maps')


# Losses


def identity(model: FeatureDistiller) -> FeatureDistiller:
    """With a projection that changes nothing."""
    nn.init.eye_(model.projection.weight)
    nn.init.zeros_(model.projection.bias)
    return model


@pytest.mark.parametrize('features', ['pooled', 'maps'])
def test_a_student_that_is_its_teacher_has_no_loss(teacher: Any, features: str) -> None:
    """Whatever the normalisation of its images is, the teacher's is its own."""
    same = {'mean': [90.0, 100.0, 110.0], 'std': [55.0, 65.0, 75.0], 'to_rgb': False}
    model = identity(FeatureDistiller(RESNET, teacher, features, data_preprocessor=same))
    model.backbone.load_state_dict(model.lesson.teacher.model.backbone.state_dict())
    model.eval()
    inputs = model.data_preprocessor({'inputs': pixels()})['inputs']
    assert float(model(inputs, mode='loss')['loss_features']) == pytest.approx(0, abs=1e-6)
    others = identity(FeatureDistiller(RESNET, teacher, features, data_preprocessor=NORMED))
    others.backbone.load_state_dict(model.backbone.state_dict())
    others.eval()
    normed = others.data_preprocessor({'inputs': pixels()})['inputs']
    assert not torch.equal(normed, inputs)
    theirs = others.lesson.teacher.features(pixels(), features)
    ours = others.backbone(normed)[-1]
    if features == 'pooled':
        ours = ours.mean((2, 3))
    expected = 1 - (F.normalize(ours, dim=1) * F.normalize(theirs, dim=1)).sum(1).mean()
    assert float(expected) > 1e-4
    torch.testing.assert_close(others(normed, mode='loss')['loss_features'], expected)


@pytest.mark.parametrize('features', ['pooled', 'maps'])
def test_smooth_l1_is_of_whitened_features(teacher: Any, features: str) -> None:
    """Half a square over 2 below 2 and the distance less 1 above, of the teacher's with mean 0 and variance 1."""
    model = FeatureDistiller(RESNET, teacher, features, 'smooth_l1', data_preprocessor=NORMED).eval()
    nn.init.normal_(model.projection.weight, std=3)
    inputs = model.data_preprocessor({'inputs': pixels()})['inputs']
    with torch.no_grad():
        out, theirs = model.backbone(inputs)[-1], model.lesson.teacher.features(pixels(), features)
        out, theirs = (x if x.dim() == 2 else x.mean((2, 3)) if features == 'pooled' else x for x in (out, theirs))
        out, theirs = (x.movedim(1, -1).reshape(-1, 64).double().numpy() for x in (out, theirs))
        ours = out @ model.projection.weight.double().numpy().T + model.projection.bias.double().numpy()
        found = float(model(inputs, mode='loss')['loss_features'])
    whitened = (theirs - theirs.mean(1, keepdims=True)) / np.sqrt(theirs.var(1, keepdims=True) + 1e-5)
    distance = np.abs(ours - whitened)
    assert (distance < 2).any()
    assert (distance > 2).any()
    assert found == pytest.approx(np.where(distance < 2, distance**2 / 4, distance - 1).mean(), rel=1e-4)


def test_the_map_of_a_teacher_is_resized_to_the_students(teacher: Any) -> None:
    model = identity(FeatureDistiller(RESNET, {**teacher, 'size': 128}, 'maps', data_preprocessor=NORMED)).eval()
    with torch.no_grad():
        inputs = model.data_preprocessor({'inputs': pixels()})['inputs']
        theirs = F.interpolate(model.lesson.teacher.features(pixels(), 'maps'), (2, 2), mode='bilinear', antialias=True)
        expected = 1 - F.cosine_similarity(model.backbone(inputs)[-1], theirs, dim=1).mean()
        torch.testing.assert_close(model(inputs, mode='loss')['loss_features'], expected)


@pytest.mark.parametrize('features', ['pooled', 'maps'])
def test_the_networks_of_a_step_are_averaged(teacher: Any, features: str) -> None:
    """Each as it computes on its own, at its resolution, and the narrower ones behind the leading channels alone."""
    mutator = {'type': 'mmhybrid.SandwichMutator', 'num_random': 2, 'seed': 3}
    model = FeatureDistiller(SUPERNET, teacher, features, mutator=mutator, data_preprocessor=NORMED).eval()
    trained(model.backbone)
    inputs = model.data_preprocessor({'inputs': pixels()})['inputs']
    MessageHub.get_current_instance().update_info('iter', 5)
    archs = model.mutator.archs(model.backbone.space, 5)
    theirs, losses = model.lesson.teacher.features(pixels(), features), []
    assert len({arch['resolution'] for arch in archs}) == len({arch['head.width'] for arch in archs}) == 2
    with torch.no_grad():
        found = model(inputs, mode='loss')['loss_features']
        for arch in archs:
            config, weights = model.backbone.export(arch)
            network = MODELS.build(config).eval()
            network.load_state_dict(weights)
            side = arch['resolution']
            images = F.interpolate(inputs, (side, side), mode='bilinear', antialias=True)
            (out,) = network(images)
            wanted = theirs
            if features == 'maps':
                wanted = F.interpolate(theirs, out.shape[2:], mode='bilinear', antialias=True).movedim(1, -1)
                out = out.movedim(1, -1)
            else:
                out = out.mean((2, 3))
            projected = F.linear(out, model.projection.weight[:, : out.shape[-1]], model.projection.bias)
            losses.append(1 - F.cosine_similarity(projected, wanted, dim=-1).mean())
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_the_teacher_is_no_part_of_the_model(teacher: Any) -> None:
    model = FeatureDistiller(RESNET, teacher, data_preprocessor=NORMED)
    before = copy.deepcopy(model.lesson.teacher.model.state_dict())
    assert {name.split('.')[0] for name in model.state_dict()} == {'backbone', 'projection'}
    inputs = model.data_preprocessor({'inputs': pixels()})['inputs']
    model.train()(inputs, mode='loss')['loss_features'].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    after = model.lesson.teacher.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert copy.deepcopy(model).lesson.teacher is model.lesson.teacher


# Trainings

TRAINING = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmhybrid'])
model = dict(
    type='mmhybrid.FeatureDistiller', backbone={backbone!r}, teacher={teacher!r}, mutator={mutator!r}, features='maps',
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3, to_rgb=True))
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={images!r}, with_label=False, pipeline=[
        dict(type='LoadImageFromFile'), dict(type='RandomResizedCrop', scale=64), dict(type='RandomFlip', prob=0.5),
        dict(type='PackInputs')]))
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2))
train_cfg = dict(type='mmhybrid.ResumableEpochLoop', max_epochs=3)
default_hooks = dict(checkpoint=dict(type='mmhybrid.AtomicCheckpointHook', interval=1))
randomness = dict(seed=0)
find_unused_parameters = True
log_level = 'WARNING'
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Photographs in folders that are not classes."""
    rng = np.random.default_rng(0)
    for i in range(8):
        folder = tmp_path / f'images/{"abc"[i % 3]}/deep'
        folder.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), cv2.resize(small, (80, 72), interpolation=cv2.INTER_CUBIC))
    return tmp_path / 'images'


MUTATOR = {'type': 'mmhybrid.SandwichMutator', 'num_random': 1}
LITE = {'type': 'mmhybrid.EfficientNetLite', 'arch': 'lite0'}


def weights_of(folder: Path, epoch: int) -> dict[str, torch.Tensor]:
    return torch.load(folder / f'epoch_{epoch}.pth', weights_only=False)['state_dict']


@pytest.mark.parametrize(('backbone', 'mutator'), [(SUPERNET, MUTATOR), (RESNET, None)], ids=['supernet', 'backbone'])
def test_trains_without_labels_and_resumes_exactly(
    backbone: Any, mutator: Any, teacher: Any, images: Path, tmp_path: Path
) -> None:
    text = TRAINING.format(backbone=backbone, mutator=mutator, teacher=teacher, images=str(images))
    (tmp_path / 'train.py').write_text(text)
    config = str(tmp_path / 'train.py')
    train(load_config(config, work_dir=str(tmp_path / 'whole')))
    whole = weights_of(tmp_path / 'whole', 3)
    assert not all(torch.equal(value, whole[name]) for name, value in weights_of(tmp_path / 'whole', 2).items())
    options = {'load_from': str(tmp_path / 'whole/epoch_1.pth'), 'resume': True}
    train(load_config(config, options, work_dir=str(tmp_path / 'resumed')))
    resumed = weights_of(tmp_path / 'resumed', 3)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())

    start = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'whole/epoch_3.pth'), 'prefix': 'backbone.'}
    student = MODELS.build({**backbone, 'init_cfg': start})
    student.init_weights()
    assert all(torch.equal(value, whole[f'backbone.{name}']) for name, value in student.state_dict().items())


# Mistakes

RESIZED = {'type': 'mmhybrid.ResizedInputs', 'size': 64, 'preprocessor': {'type': 'mmpretrain.ClsDataPreprocessor'}}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'features': 'tokens'}, r"features: got 'tokens', allowed: one of \['pooled', 'maps'\]"),
        ({'loss': 'l2'}, r"loss: got 'l2', allowed: one of \['cosine', 'smooth_l1'\]"),
        ({'backbone': SUPERNET}, r'mutator: got None, allowed: a dict'),
        ({'mutator': MUTATOR}, r'mutator: got .*, allowed: None, for a ResNet'),
        ({'data_preprocessor': RESIZED}, r"data_preprocessor: got 'ResizedInputs'"),
        ({'teacher': {'checkpoint': 'none.pth', 'timm': 'resnet18'}}, r"teacher\.checkpoint: got 'none\.pth'"),
    ],
    ids=str,
)
def test_mistakes_are_named(arguments: Any, message: str, teacher: Any) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureDistiller(**{'backbone': RESNET, 'teacher': teacher, 'data_preprocessor': NORMED, **arguments})


def test_vectors_are_no_maps(teacher: Any) -> None:
    network = {'type': 'mmhybrid.ElasticConvNeXt', 'network': {'depths': [1] * 4, 'channels': [8] * 4}}
    model = FeatureDistiller(network, teacher, 'maps', data_preprocessor=NORMED)
    with pytest.raises(
        ValueError, match=r"features: got 'maps', allowed: 'pooled', for a backbone that returns \(3, 8"
    ):
        model(pixels(), mode='loss')
