"""TensorRT through ONNX Runtime: how a session is opened; no machine of these tests has a GPU to run one."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmhybrid.latency import on_device
from mmhybrid.latency.devices import Device

onnxruntime = pytest.importorskip('onnxruntime')


class Opened(Exception):
    """A session would be open now."""


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """The providers that a session was asked for, and a home that is empty."""
    monkeypatch.setattr(Path, 'home', lambda: tmp_path)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    asked = SimpleNamespace(providers=None, home=tmp_path)

    def session(content, options, providers):
        asked.providers = providers
        raise Opened

    monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
    return asked


@pytest.mark.parametrize(
    ('dtype', 'float16', 'int8'),
    [('float32', 'False', 'False'), ('float16', 'True', 'False'), ('int8', 'False', 'True')],
)
def test_the_session_has_the_precision_and_keeps_what_kernels_took(opened, dtype, float16, int8):
    with pytest.raises(Opened):
        on_device.load_onnxruntime(b'', np.zeros(1), 'tensorrt', dtype, 1)
    folder = opened.home / '.cache/mmhybrid/tensorrt'
    expected = {
        'trt_fp16_enable': float16,
        'trt_int8_enable': int8,
        'trt_timing_cache_enable': 'True',
        'trt_timing_cache_path': str(folder),
    }
    assert opened.providers == [('TensorrtExecutionProvider', expected)]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_another_folder_for_caches_is_taken(opened, monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'elsewhere'))
    options = on_device.provider_of('tensorrt', 'float32')[1]
    assert options['trt_timing_cache_path'] == str(tmp_path / 'elsewhere/mmhybrid/tensorrt')


def test_a_home_that_cannot_be_written_to_keeps_nothing(opened):
    Path(opened.home, '.cache').write_text('a file')
    assert set(on_device.provider_of('tensorrt', 'float32')[1]) == {'trt_fp16_enable', 'trt_int8_enable'}


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_other_devices_have_no_options(device):
    assert on_device.provider_of(device, 'float16')[1] == {}


def test_onnxruntime_takes_a_provider_with_its_options():
    found = onnxruntime.capi.onnxruntime_inference_collection.check_and_normalize_provider_args(
        [on_device.provider_of('cpu', 'float32')], None, ['CPUExecutionProvider']
    )
    assert found == (['CPUExecutionProvider'], [{}])


def test_without_a_gpu_it_is_refused():
    with pytest.raises(ValueError, match="device: got 'tensorrt'"):
        Device.here('tensorrt', 'onnxruntime', 'float32', 1, 1).open()


def test_a_bundle_asks_for_the_provider(monkeypatch):
    manifest = {'backend': 'onnxruntime', 'device': 'tensorrt', 'dtype': 'float16', 'threads': 1, 'clock': 'wall'}
    with pytest.raises(on_device.MistakeError, match='got tensorrt'):
        on_device.OnnxRuntime({**manifest, 'versions': {}})
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: ['TensorrtExecutionProvider'])
    runtime = on_device.OnnxRuntime({**manifest, 'versions': {}})
    sessions = []
    monkeypatch.setattr(on_device, 'load_onnxruntime', lambda *given: sessions.append(given))
    runtime.load(b'network', (1, 3, 8, 8))
    [(content, images, *rest)] = sessions
    assert (content, images.dtype, rest) == (b'network', np.float16, ['tensorrt', 'float16', 1])


@pytest.mark.parametrize(
    ('script', 'expected'), [('echo NV Power Mode: MAXN', {'nvpmodel': 'NV Power Mode: MAXN'}), ('exit 1', {})]
)
def test_the_power_mode_of_a_board_is_recorded(monkeypatch, tmp_path, script, expected):
    program = tmp_path / 'nvpmodel'
    program.write_text(f'#!/bin/sh\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
    assert on_device.power_mode() == expected
    device = {'backend': 'onnxruntime', 'device': 'tensorrt', 'dtype': 'float32', 'threads': 1, 'clock': 'wall'}
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: ['TensorrtExecutionProvider'])
    versions = on_device.OnnxRuntime({**device, 'versions': {}}).described()['versions']
    assert versions.items() >= expected.items()
    assert ('nvpmodel' in versions) == bool(expected)
