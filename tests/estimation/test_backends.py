"""Every backend runs the network it is given, as it is told; one of your own is a class."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from mmhybrid.estimation.backends import BACKENDS, Backend, OnnxRuntimeBackend, backend_class
from mmhybrid.estimation.devices import Device

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).eval()


def output(backend, network):
    return backend.build(network, IMAGES)()


@pytest.mark.parametrize(
    'name',
    [
        'eager',
        pytest.param('onnxruntime', marks=pytest.mark.torch_since(2, 6)),
        pytest.param('compile', marks=pytest.mark.slow),
    ],
)
def test_runs_the_network(name, network):
    if name == 'onnxruntime':
        pytest.importorskip('onnxruntime')
    backend = backend_class(name)('cpu', 'float32', 1)
    found = output(backend, network)
    if isinstance(backend, OnnxRuntimeBackend):
        (found,) = found.copy_outputs_to_cpu()
    with torch.no_grad():
        np.testing.assert_allclose(np.asarray(found), network(IMAGES).numpy(), rtol=1e-4, atol=1e-5)
    assert backend.milliseconds(backend.build(network, IMAGES)) > 0


def test_threads_are_those_of_the_backend():
    before = torch.get_num_threads()
    with Backend('cpu', 'float32', before + 1).running():
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_bfloat16_is_refused_by_onnxruntime():
    with pytest.raises(ValueError, match=r'dtype: got .bfloat16., allowed: float32 or float16'):
        OnnxRuntimeBackend('cpu', 'bfloat16', 1)


class Phone(Backend):
    """A device of another name, which times nothing here."""

    devices = ('phone',)
    packages = ()

    @staticmethod
    def device_name(device):
        """Of the phone."""
        return 'Telephone 3'


@pytest.fixture
def phone(monkeypatch):
    monkeypatch.setitem(BACKENDS, 'phone', Phone)


@pytest.mark.usefixtures('phone')
def test_a_backend_names_its_devices(monkeypatch):
    device = Device.here('phone', 'phone', 'float32', 1, 1)
    assert device.name == 'Telephone 3'
    assert not device.differences()
    for name, backend in (('phone', 'eager'), ('cpu', 'phone')):
        with pytest.raises(ValueError, match=f'device: got .{name}.'):
            Device.here(name, backend, 'float32', 1, 1)
    # elsewhere, without the class, the file is still read
    monkeypatch.delitem(BACKENDS, 'phone')
    assert Device.parse('device', asdict(device)) == device
    assert not device.differences()
    with pytest.raises(ValueError, match=r'backend: got .phone., allowed: one of'):
        backend_class(device.backend)


def test_versions_of_the_backend_are_compared():
    device = Device.here('cpu', 'onnxruntime', 'float32', 1, 1)
    old = Device(**{**vars(device), 'versions': {**device.versions, 'onnxruntime': '0.1', 'mmcv': '0.1'}})
    assert set(old.differences()) == {'onnxruntime'}
