"""Exported files compute on each runtime what torch computes, and say what they take."""

import numpy as np
import pytest
import torch
from torch import nn

from mmhybrid.apis.export import export_model
from mmhybrid.apis.export_metadata import write_metadata
from mmhybrid.apis.runtimes import open_network
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.latency.backends import backend_class
from mmhybrid.models import presets
from mmhybrid.models.deployed import switch_to_deploy
from mmhybrid.torch_api import EXPORTING

pytestmark = pytest.mark.torch_since(*EXPORTING)
FACTS = {'resolution': '32 x 48', 'classes': '["a", "b"]', 'origin': 'mmhybrid'}
SHAPE = (2, 3, 32, 48)
NEEDS = {'onnx': 'onnxruntime', 'openvino': 'openvino', 'executorch': 'executorch'}
FILES = {
    'onnx': ['network.onnx'],
    'openvino': ['network.bin', 'network.xml'],
    'executorch': ['network.json', 'network.pte'],
}


def images_of(shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    """Its weights lie as they are fast in torch."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    return nn.Sequential(*layers).eval().to(memory_format=torch.channels_last)


@pytest.mark.parametrize('file_format', NEEDS)
def test_a_file_computes_and_says_what_it_takes(file_format, network, tmp_path):
    pytest.importorskip(NEEDS[file_format])
    path, images = tmp_path / FILES[file_format][-1], images_of(SHAPE)
    for _ in range(2):  # the second export replaces the first
        export_model(network, SHAPE, path, file_format)
        write_metadata(path, file_format, FACTS)
    assert sorted(file.name for file in tmp_path.iterdir()) == FILES[file_format]
    opened = open_network(path, NEEDS[file_format])
    assert opened.input_shape == list(SHAPE)
    assert not opened.is_end_to_end
    assert opened.metadata == FACTS
    (found,) = opened.run(images.numpy()).values()
    with torch.no_grad():
        np.testing.assert_allclose(found, network(images).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('file_format', 'ending'), [('openvino', '.xml'), ('executorch', '.pte')])
def test_the_ending_is_what_the_runtime_opens(file_format, ending, network, tmp_path):
    with pytest.raises(ValueError, match=f'allowed: the name of a file ending in {ending}, which {file_format} opens'):
        export_model(network, SHAPE, tmp_path / 'network.onnx', file_format)
    assert not list(tmp_path.iterdir())


def test_a_file_without_metadata_says_nothing(network, tmp_path):
    pytest.importorskip('openvino')
    export_model(network, SHAPE, tmp_path / 'a.xml', 'openvino')
    assert open_network(tmp_path / 'a.xml', 'openvino').metadata == {}


def test_executorch_times_what_it_runs(network):
    pytest.importorskip('executorch')
    images = images_of(SHAPE)
    backend = backend_class('executorch')('cpu', 'float32', 1, 'thread')
    jobs = [backend.build(network, images) for _ in range(2)]  # of which the first still runs
    for job in jobs * 3:
        with torch.no_grad():
            torch.testing.assert_close(job()[0], network(images), rtol=1e-4, atol=1e-5)
        assert backend.milliseconds(job) > 0
    with pytest.raises(ValueError, match=r'dtype: got .float16.'):
        backend_class('executorch')('cpu', 'float16', 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', [('AutoViT', 'xxs'), ('GLiT', 'tiny'), ('GLNet', 'stl')], ids=lambda name: '-'.join(name)
)
@pytest.mark.parametrize('file_format', ['openvino', 'executorch'])
def test_presets_on_a_scene(file_format, name, tmp_path):
    """Within 1e-4 of the size of the logits."""
    pytest.importorskip(NEEDS[file_format])
    cv2 = pytest.importorskip('cv2')
    (preset,) = (preset for preset in presets.PUBLISHED if (preset.family, preset.arch) == name)
    torch.manual_seed(0)
    network, side = presets.build_classifier(preset).eval(), preset.image_size
    switch_to_deploy(network)
    make_demo_data(tmp_path / 'data', num_train=1, num_val=1)
    scene = cv2.imread(str(next((tmp_path / 'data').rglob('*.jpg'))))
    pixels = torch.from_numpy(cv2.resize(scene, (side, side))).float().permute(2, 0, 1)[None]
    images = ((pixels - 120) / 58).contiguous()
    path = tmp_path / FILES[file_format][-1]
    export_model(network, tuple(images.shape), path, file_format)
    found = next(iter(open_network(path, NEEDS[file_format]).run(images.numpy()).values()))
    with torch.no_grad():
        expected = network(images).numpy()
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)
