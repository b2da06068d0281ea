"""The model index, as OpenMMLab's tools read it."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fresh_python import run_python
from model_zoo_page import Statement, read_statements
from modelindex.load_model_index import load
from modelindex.models.Model import Model
from presets_table import count_presets

from mmhybrid.model_index import MIM
from mmhybrid.models.families import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
# configs that train one network, but those of our own quick checks
LISTED = {
    str(statement.path): statement
    for statement in read_statements(ROOT)
    if statement.is_trained_alone and not statement.source.startswith('ours')
}
DENSE = ('mask-rcnn', 'retinanet', 'semantic-fpn', 'upernet')
METRICS = {'% top-1': 'Top 1 Accuracy'}  # the others are named as in the docstrings

ASK_MMPRETRAIN = """
import sys
if sys.argv[1] == 'first':
    import mmpretrain
import mmhybrid
assert ('mmpretrain' in sys.modules) == (sys.argv[1] == 'first')
from mmpretrain import get_model, list_models
names = list_models('glnet', task='Image Classification')
assert names == list_models('glnet')
assert {'glnet-stl_in1k', 'glnet-4g_in1k', 'glnet-9g_token-label_in1k'} <= set(names)
assert 'autovit-xxs_in1k' in list_models('autovit', task='Image Classification')
for family in ('autovit', 'glit', 'efficientnet-lite'):
    assert list_models(family, task='Image Classification') == list_models(family) != []
assert not list_models('*_coco') and list_models('resnet50')
try:
    get_model('glnet-4g_in1k', pretrained=True)
except ValueError as error:
    assert 'mmhybrid convert-checkpoint' in str(error)
else:
    raise AssertionError('weights that are not there')
model = get_model('glnet-4g_in1k')
assert len(model._dataset_meta['classes']) == 1000
print(sum(parameter.numel() for parameter in model.parameters()))
"""


def read_index(path: Path) -> dict[str, Model]:
    index = load(str(path))
    index.build_models_with_collections()
    models = {model.name: model for model in index.models}
    assert len(models) == len(index.models)
    return models


@pytest.fixture(scope='module')
def models() -> dict[str, Model]:
    return read_index(ROOT / 'model-index.yml')


def test_every_network_is_listed_once(models: dict[str, Model]) -> None:
    assert sorted(model.config for model in models.values()) == sorted(LISTED)


def test_names_are_those_of_the_configs(models: dict[str, Model]) -> None:
    for name, model in models.items():
        assert name == indexed_name(Path(model.config).stem)
        assert model.in_collection.lower() == Path(model.config).parent.name


def indexed_name(stem: str) -> str:
    """A file's name with the network as one word, as OpenMMLab has it; ablations are of GLNet-STL.

    A file that has the network as one word already, ``glnet-4g_16xb128_in1k``, keeps its name.
    """
    return re.sub('(glnet|glit|autovit)_', r'\1-', stem.replace('ablation_', 'glnet_stl_'))


def test_presets_state_what_is_counted(models: dict[str, Model]) -> None:
    for preset, counted in count_presets():
        metadata = models[f'{preset.name}_in1k'].metadata
        assert (metadata.parameters, metadata.flops) == (counted.params, counted.macs)


def test_results_are_the_published_ones_of_published_networks(models: dict[str, Model]) -> None:
    for model in models.values():
        found = {metric: value for result in model.results or [] for metric, value in result.metrics.items()}
        assert found == published_results(LISTED[model.config])


def published_results(statement: Statement) -> dict[str, float]:
    """Reconstructions, and architectures of our own, state none."""
    is_published = statement.path.stem in ('glit_tiny_in1k', 'glit_tiny_uniform-3-0_in1k')
    if statement.family not in ('GLNet', 'EfficientNetLite') and not is_published:
        return {}
    units = {unit.partition(' with')[0]: float(value) for unit, value in statement.figures.items()}
    return {METRICS.get(unit, unit): value for unit, value in units.items() if unit[:2] not in ('M ', 'G ')}


def test_mim_finds_the_configs_in_the_installed_package() -> None:
    models = read_index(MIM / 'model-index.yml')
    assert all((MIM / model.config).is_file() for model in models.values())


def test_classifiers_are_apart_from_what_mmpretrain_cannot_build() -> None:
    for family in FAMILIES.values():
        classifiers = read_index(ROOT / 'configs' / family.config_folder / 'metafile.yml')
        assert classifiers
        assert not any(name.startswith(DENSE) for name in classifiers)


@pytest.mark.parametrize('order', ['first', 'second'])
def test_mmpretrain_knows_the_classifiers(order: str) -> None:
    """Whichever of the two packages is imported first."""
    done = run_python(ASK_MMPRETRAIN, order)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == '27001593'


def test_weights_that_are_asked_for_are_loaded_or_refused(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    from mmengine.config import Config
    from mmpretrain import ImageClassificationInferencer, get_model

    small = Config.fromfile(ROOT / 'configs/demo/glnet_cls.py')
    path = str(ROOT / 'configs/demo/glnet_cls.py')
    for model in (small, path, 'glnet-4g_in1k'):
        with pytest.raises(ValueError, match=r'pretrained=True: there are no weights of .*convert-checkpoint'):
            get_model(model, pretrained=True)
    with pytest.raises(ValueError, match='there are no weights of glnet-4g_in1k'):
        ImageClassificationInferencer('glnet-4g_in1k')
    built = get_model(path)
    torch.save({'state_dict': {'weight': torch.rand(1)}}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other\.pth fits nothing of ImageClassifier: it has weight'):
        get_model(path, pretrained=str(tmp_path / 'other.pth'))
    torch.save({'state_dict': built.state_dict()}, tmp_path / 'own.pth')
    again = get_model(path, pretrained=str(tmp_path / 'own.pth'))
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in built.state_dict().items())
    small.load_from = str(tmp_path / 'own.pth')
    assert torch.equal(get_model(small, pretrained=True).head.fc.weight, built.head.fc.weight)
    with pytest.warns(UserWarning, match='Unable to find pre-defined checkpoint'):  # of others, as ever
        get_model(dict_of_resnet(), pretrained=True)


def dict_of_resnet() -> Any:
    from mmengine.config import Config

    backbone = {'type': 'ResNet', 'depth': 18}
    return Config({'model': {'type': 'ImageClassifier', 'backbone': backbone}})


@pytest.mark.slow
def test_mmpretrain_builds_every_classifier() -> None:
    from mmpretrain import get_model

    for family in FAMILIES.values():
        for name in read_index(ROOT / 'configs' / family.config_folder / 'metafile.yml'):
            with torch.device('meta'):
                assert type(get_model(name).backbone) is family.backbone
