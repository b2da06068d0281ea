"""Calibrating measures what it says."""

import random
from dataclasses import replace

import pytest
import torch

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency import calibration
from mmhybrid.latency.analytic import OPERATIONS, PRODUCTS, AnalyticLatency
from mmhybrid.latency.backends import Backend
from mmhybrid.latency.calibration import calibrate
from mmhybrid.latency.devices import Device
from mmhybrid.latency.rounds import Measurement
from mmhybrid.space import GLiTSpace

COSTS = Workload(GLiTSpace(embed_dims=24, num_blocks=2, level='attention'), {'type': 'mmhybrid.GLiT'}, 32, 5)
DEVICE = Device.here('cpu', 'eager', 'float32', 1, 1)


def test_rates_of_this_machine(monkeypatch):
    monkeypatch.setattr(calibration, 'LARGE', 2**20)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    model = calibrate(DEVICE, COSTS)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert model.device == DEVICE
    assert min(*model.rates.macs_per_ms.values(), *model.rates.start_ms.values(), model.rates.elements_per_ms) > 0
    assert model.rates.macs_per_ms['depthwise'] < model.rates.macs_per_ms['matmul']


def test_elements_per_ms_counts_three_tensors(monkeypatch):
    """An addition that reads the same tensor twice would move two."""
    operands = []
    original = calibration._addition
    monkeypatch.setattr(calibration, '_addition', lambda x, y: operands.append((x, y)) or original(x, y))
    monkeypatch.setattr(calibration, '_milliseconds', lambda job, backend: job().numel() / 1000)
    monkeypatch.setattr(calibration, 'LARGE', 4000)
    rates = calibration._rates(Backend('cpu', 'float32', 1), DEVICE)
    assert all(x.data_ptr() != y.data_ptr() for x, y in operands)
    assert rates.elements_per_ms == pytest.approx(3 * 4000 / (4 - 0.001))


@pytest.mark.parametrize(
    ('start', 'rate', 'parallel'), [(0.01, 2.5e10, 3e8), (0.005, 1e8, 0.0), (0.01, 4e9, 2e7), (0.01, 1e9, 2e8)]
)
def test_gpu_of_known_rates(monkeypatch, start, rate, parallel):
    """Rates of a simulated GPU, whose clock is 0.3 us off."""
    noise = random.Random(0)

    def milliseconds(job, backend):
        work = job()
        macs = max(work, parallel) if isinstance(work, int) else 0
        return start + macs / rate + abs(noise.gauss(0, 3e-4))

    def product(kind, width, side, place):
        macs = side * side * width * (9 if kind == 'depthwise' else width)
        return lambda: macs, macs

    monkeypatch.setattr(calibration, '_milliseconds', milliseconds)
    monkeypatch.setattr(calibration, '_product', product)
    monkeypatch.setattr(calibration, '_random', lambda place, *shapes: [torch.zeros(1) for _ in shapes])
    rates = calibration._rates(Backend('cpu', 'float32', 1), replace(DEVICE, device='cuda'))
    assert rates.start_ms == pytest.approx(dict.fromkeys(OPERATIONS, start), rel=0.1)
    assert rates.macs_per_ms['matmul'] == pytest.approx(rate, rel=0.1)
    assert rates.macs_per_ms['convolution'] == pytest.approx(rate, rel=0.1)
    assert rates.parallel_macs['matmul'] == pytest.approx(parallel, rel=0.2, abs=1e-3 * rate)


def test_meets_the_mean_of_the_smallest_and_the_largest_network(monkeypatch):
    monkeypatch.setattr(calibration, 'LARGE', 2**16)
    milliseconds = [3.0, 40.0]
    monkeypatch.setattr(
        calibration,
        'measure',
        lambda costs, archs, *_: [Measurement(arch, ms, 0.1, 5) for arch, ms in zip(archs, milliseconds, strict=True)],
    )
    model: AnalyticLatency = calibrate(DEVICE, COSTS)
    estimator = Estimator(COSTS, model)
    small, large = (estimator(arch).latency_ms for arch in (COSTS.space.smallest(), COSTS.space.largest()))
    assert small * large == pytest.approx(3 * 40)
    assert set(model.rates.macs_per_ms) == set(PRODUCTS)


def test_only_eager():
    with pytest.raises(ValueError, match=r'backend: got .compile., allowed: eager'):
        calibrate(Device.here('cpu', 'compile', 'float32', 1, 1), COSTS)
