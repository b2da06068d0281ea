"""Teachers that timm builds: a stand-in where it is not installed, timm itself where it is."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmhybrid.apis.configs import load_config
from mmhybrid.models.teachers import Teacher, _mmpretrain_model, _timm_model

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / 'configs/autovit').glob('supernet_*-regnety_in1k.py')) + sorted(
    (ROOT / 'configs/autovit').glob('supernet_*-effnetb5_in1k.py')
)
# AutoViT, section 5.1: what the paper distils from, and timm's weights that were trained on ImageNet-1k alone
TEACHERS = {'RegNetY-32G (83.6 %)': 'regnety_320.tv2_in1k', 'EfficientNet-B5 (83.3 %)': 'tf_efficientnet_b5.in1k'}


class Toy(nn.Module):
    """As timm's models are: classes and the preprocessing of the weights are attributes."""

    num_classes = 5

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.default_cfg = {'mean': (mean, 0.5, 0.5), 'std': (0.25, 0.25, 0.25), 'input_size': (3, 4, 4)}
        self.fc = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, pretrained: bool) -> Toy:
        assert not pretrained
        return Toy({'toy': 0.0, 'toy.one': 0.0, 'toy.two': 0.5}[name])

    timm = SimpleNamespace(
        list_models=lambda: ['toy'], list_pretrained=lambda: ['toy.one', 'toy.two'], create_model=create_model
    )
    monkeypatch.setitem(sys.modules, 'timm', timm)


def saved(model: nn.Module, folder: Path) -> str:
    torch.save(model.state_dict(), folder / 'teacher.pth')
    return str(folder / 'teacher.pth')


@pytest.mark.parametrize(('name', 'mean'), [('toy', 0.0), ('toy.one', 0.0), ('toy.two', 0.5)])
@pytest.mark.usefixtures('stand_in')
def test_images_are_normalised_as_the_weights_want(name: str, mean: float, tmp_path: Path) -> None:
    model = Toy(mean)
    teacher = Teacher(saved(model, tmp_path), timm=name)
    assert teacher.num_classes == 5
    assert not teacher.model.training
    rgb = torch.rand(2, 3, 4, 4) * 255
    own = (rgb / 255 - torch.tensor([mean, 0.5, 0.5]).view(3, 1, 1)) / 0.25
    torch.testing.assert_close(teacher.logits(rgb.flip(1)), model(own), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('size', 'seen'), [(None, 4), (6, 6)])
@pytest.mark.usefixtures('stand_in')
def test_it_sees_images_of_its_own_size(size: int | None, seen: int, tmp_path: Path) -> None:
    teacher = Teacher(saved(Toy(0.0), tmp_path), timm='toy', size=size)
    shapes = []
    teacher.model.register_forward_pre_hook(lambda model, args: shapes.append(args[0].shape))
    for side in (4, 5, 9):
        teacher.logits(255 * torch.rand(2, 3, side, side))
    assert shapes == [(2, 3, seen, seen)] * 3


@pytest.mark.parametrize(
    ('pipeline', 'seen'), [([{'type': 'CenterCrop', 'crop_size': 32}, {'type': 'Pack'}], 32), ([], 48)]
)
def test_a_teacher_of_a_config_sees_what_its_tests_crop(pipeline: list, seen: int, tmp_path: Path) -> None:
    backbone = {'type': 'mmhybrid.GLNet', 'arch': 'stl'}
    head = {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 768}
    model = {'type': 'ImageClassifier', 'backbone': backbone, 'neck': {'type': 'GlobalAveragePooling'}, 'head': head}
    preprocessor = {'mean': [0.0] * 3, 'std': [1.0] * 3, 'to_rgb': True, 'num_classes': 5}
    cfg = Config(
        {'model': model, 'data_preprocessor': preprocessor, 'test_dataloader': {'dataset': {'pipeline': pipeline}}}
    )
    network = _mmpretrain_model(cfg)
    teacher = Teacher(saved(network, tmp_path), config=cfg)
    shapes = []
    teacher.model.backbone.register_forward_pre_hook(lambda model, args: shapes.append(args[0].shape))
    teacher.logits(255 * torch.rand(1, 3, 48, 48))
    assert shapes == [(1, 3, seen, seen)]


@pytest.mark.usefixtures('stand_in')
def test_names_and_weights_that_do_not_fit(tmp_path: Path) -> None:
    checkpoint = saved(nn.Linear(2, 2), tmp_path)
    for name in ('toi', 'toy.three'):
        with pytest.raises(ValueError, match=r'teacher.timm: got .*list_pretrained'):
            Teacher(checkpoint, timm=name)
    with pytest.raises(ValueError, match=r'teacher.checkpoint: .*teacher.pth does not fit the model'):
        Teacher(checkpoint, timm='toy')


def test_without_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ValueError, match=r"teacher.timm: 'toy' needs timm, which is not installed"):
        Teacher(saved(nn.Linear(2, 2), tmp_path), timm='toy')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configs_name_their_teacher_and_how_to_save_it(path: Path) -> None:
    leaf = path.read_text()
    teacher = load_config(str(path)).model.teacher
    title = leaf.split('"""')[1].splitlines()[0]
    assert [tag for name, tag in TEACHERS.items() if name in title] == [teacher.timm]
    base = re.findall(r'configs/(_base_/distillation/\w+\.py)', leaf)
    assert len(base) == 1
    told = (ROOT / 'configs' / base[0]).read_text().replace('\n# ', ' ')
    created, written = re.findall(r"create_model\('([^']+)', pretrained=True\).state_dict\(\),\s+'([^']+)'\)", told)[0]
    assert (created, written) == (teacher.timm, teacher.checkpoint)


def test_every_teacher_is_one_of_the_paper_s() -> None:
    supernets = (ROOT / 'configs').rglob('supernet_*.py')
    with_teacher = {path for path in supernets if 'teacher=_base_.teacher' in path.read_text()}
    assert with_teacher == set(CONFIGS)


ALONE = {
    path: re.search('(hard|features)-(regnety|dinov3)', path.stem)[2]  # type: ignore[index]
    for path in sorted((ROOT / 'configs').rglob('*_in1k.py'))
    if re.search('^(?!supernet).*-(regnety|dinov3)', path.stem)
}


@pytest.mark.parametrize('path', ALONE, ids=lambda path: path.stem)
def test_networks_by_themselves_name_their_teacher_too(path: Path) -> None:
    cfg = load_config(str(path))
    assert ALONE[path] in cfg.model.teacher.timm.replace('_', '')
    told = (ROOT / f'configs/_base_/distillation/{ALONE[path]}.py').read_text().replace('\n# ', ' ')
    created, written = re.findall(r"create_model\('([^']+)', pretrained=True\).state_dict\(\),\s+'([^']+)'\)", told)[0]
    assert (created, written) == (cfg.model.teacher.timm, cfg.model.teacher.checkpoint)
    assert cfg.model.type == f'mmhybrid.{"TaughtClassifier" if "hard" in path.stem else "FeatureDistiller"}'


def test_there_is_one_of_each_family_and_teacher() -> None:
    found = {(path.parent.name, teacher) for path, teacher in ALONE.items()}
    assert found == {(family, teacher) for family in ('autovit', 'glit', 'glnet') for teacher in ('dinov3', 'regnety')}


def test_dinov3_teaches_features(tmp_path: Path) -> None:
    """The recipes' network on torch's meta device, and a smaller of its class with random weights in its place."""
    timm = pytest.importorskip('timm')
    with torch.device('meta'):
        model = _timm_model('vit_small_patch16_dinov3.lvd1689m')
    assert (model.num_features, model.default_cfg['input_size']) == (384, (3, 256, 256))
    smaller = 'vit_tiny_patch16_dinov3_qkvb'
    torch.save(timm.create_model(smaller).state_dict(), tmp_path / 'teacher.pth')
    teacher = Teacher(str(tmp_path / 'teacher.pth'), timm=smaller, size=64)
    assert type(teacher.model) is type(model)
    pixels = 255 * torch.rand(2, 3, 48, 48)
    assert teacher.features(pixels, 'maps').shape == (2, teacher.feature_width('maps'), 4, 4)
    assert teacher.features(pixels, 'pooled').shape == (2, teacher.feature_width('pooled'))
    assert teacher.num_classes == 0


@pytest.mark.parametrize('name', TEACHERS.values())
def test_timm_has_them(name: str) -> None:
    pytest.importorskip('timm')
    with torch.device('meta'):
        model = _timm_model(name)
    assert model.num_classes == 1000
    assert f'{model.default_cfg["architecture"]}.{model.default_cfg["tag"]}' == name
    assert model.default_cfg['mean'] == (0.485, 0.456, 0.406)
    assert model.default_cfg['input_size'][-1] == {'tf_efficientnet_b5.in1k': 456, 'regnety_320.tv2_in1k': 224}[name]


def test_a_teacher_of_timm_s(tmp_path: Path) -> None:
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    model = timm.create_model('regnety_002.pycls_in1k').eval()
    teacher = Teacher(saved(model, tmp_path), timm='regnety_002.pycls_in1k')
    rgb = 255 * torch.rand(2, 3, 224, 224)
    mean, std = (255 * torch.tensor(model.default_cfg[name]).view(3, 1, 1) for name in ('mean', 'std'))
    with torch.no_grad():
        torch.testing.assert_close(teacher.logits(rgb.flip(1)), model((rgb - mean) / std), rtol=1e-3, atol=1e-4)
