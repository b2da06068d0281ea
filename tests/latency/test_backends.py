"""Every backend runs the network it is given, as it is told; one of your own is a class."""

import time
from dataclasses import asdict

import numpy as np
import pytest
import torch
from fresh_python import run_python
from torch import nn

from mmhybrid.latency.backends import BACKENDS, CLOCKS, Backend, OnnxRuntimeBackend, backend_class
from mmhybrid.latency.devices import Device
from mmhybrid.models import presets
from mmhybrid.models.deployed import switch_to_deploy
from mmhybrid.torch_api import EXPORTING

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
        pytest.param('onnxruntime', marks=pytest.mark.torch_since(*EXPORTING)),
        pytest.param('openvino', marks=pytest.mark.torch_since(*EXPORTING)),
        pytest.param('compile', marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize('clock', CLOCKS)
def test_runs_the_network(name, clock, network):
    if name in ('onnxruntime', 'openvino'):
        pytest.importorskip(name)
    backend = backend_class(name)('cpu', 'float32', 1, clock)
    found = output(backend, network)
    if isinstance(backend, OnnxRuntimeBackend):
        (found,) = found.copy_outputs_to_cpu()
    elif name == 'openvino':
        found = found[0]
    with torch.no_grad():
        np.testing.assert_allclose(np.asarray(found), network(IMAGES).numpy(), rtol=1e-4, atol=1e-5)
    assert backend.milliseconds(backend.build(network, IMAGES)) > 0


def test_threads_are_those_of_the_backend():
    before = torch.get_num_threads()
    with Backend('cpu', 'float32', before + 1).running():
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_bfloat16_is_refused_by_onnxruntime():
    with pytest.raises(ValueError, match=r'dtype: got .bfloat16., allowed: one of .*float16.*int8'):
        OnnxRuntimeBackend('cpu', 'bfloat16', 1)


@pytest.mark.torch_since(*EXPORTING)
def test_openvino_works_in_a_thread_of_its_own(network):
    """One thread's clock would stand still meanwhile; the process's is as good, where it has one thread at work."""
    pytest.importorskip('openvino')
    images = torch.rand(8, 3, 256, 256)
    network = nn.Sequential(*(nn.Conv2d(3, 3, 7, padding=3) for _ in range(4)))
    milliseconds = {}
    for clock in CLOCKS:
        backend = backend_class('openvino')('cpu', 'float32', 1, clock)
        job = backend.build(network, images)
        milliseconds[clock] = min(backend.milliseconds(job) for _ in range(5))
    assert milliseconds['thread'] > 0.2 * milliseconds['wall']
    with pytest.raises(ValueError, match='threads: got 2, allowed: 1 with the clock thread'):
        backend_class('openvino')('cpu', 'float32', 2, 'thread')
    with pytest.raises(ValueError, match=r'dtype: got .float16.'):
        backend_class('openvino')('cpu', 'float16', 1)


@pytest.mark.slow
@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize('preset', presets.PUBLISHED, ids=lambda preset: f'{preset.family}-{preset.arch}')
def test_presets_compute_the_same_elsewhere(preset, runtime):
    """As they are trained and as they are deployed, with statistics of batch norms that are not those of the start."""
    pytest.importorskip(runtime)
    torch.manual_seed(0)
    network = presets.build_classifier(preset).eval()
    for name, value in network.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5)
    images = torch.rand(1, 3, preset.image_size, preset.image_size)
    with torch.no_grad():
        expected = network(images).numpy()
    backend = backend_class(runtime)('cpu', 'float32', 2)
    for change in (lambda: None, lambda: switch_to_deploy(network)):
        change()
        found = backend.build(network, images)()
        (found,) = found.copy_outputs_to_cpu() if runtime == 'onnxruntime' else (found[0],)
        assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


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


LET_GO = """
import faulthandler, signal, subprocess, sys, threading
import torch
from mmhybrid.latency.backends import OpenVinoBackend
faulthandler.enable()
signal.signal(signal.SIGCHLD, lambda *arguments: None)
images = torch.ones(1, 3, 8, 8)
held = [OpenVinoBackend('cpu', 'float32', 1)]
held.append(held[0].build(torch.nn.Conv2d(3, 4, 1), images))
held[1]()
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
subprocess.run([sys.executable, '-c', ''], check=True)
print('still there')
"""


@pytest.mark.torch_since(*EXPORTING)
def test_a_signal_after_openvino_was_let_go_by_another_thread_ends_nothing():
    pytest.importorskip('openvino')
    done = run_python(LET_GO)
    assert done.returncode == 0, done.stderr
    assert 'still there' in done.stdout


@pytest.mark.torch_since(*EXPORTING)
@pytest.mark.parametrize(('name', 'convolution'), [('onnxruntime', 'Conv'), ('openvino', 'Convolution')])
def test_operators_of_a_runtime(name, convolution):
    """They are those of the network, and take no longer than the network does, profiled or not."""
    pytest.importorskip(name)
    network = nn.Sequential(nn.Conv2d(3, 64, 7), nn.Softmax(dim=1), nn.Conv2d(64, 64, 7)).eval()
    images = torch.rand(1, 3, 64, 64)
    backend = BACKENDS[name]('cpu', 'float32', 1)
    began = time.perf_counter()
    found = backend.operators(network, images, 3)
    assert sum(found.values()) < (time.perf_counter() - began) * 1e3 / 3
    assert next(iter(found)) == convolution  # takes the most
    assert found['Softmax'] > 0
    assert list(found.values()) == sorted(found.values(), reverse=True)
    # five passes over 64 x 64 x 49 x 52 x 52 products take longer than a processor's peak allows
    assert found[convolution] > 64 * 64 * 49 * 52 * 52 / 1e9
