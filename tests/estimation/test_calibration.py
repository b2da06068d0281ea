"""Calibrating measures what it says."""

import pytest
import torch

from mmhybrid.estimation import calibration
from mmhybrid.estimation.analytic import PRODUCTS, AnalyticLatency
from mmhybrid.estimation.backends import Backend
from mmhybrid.estimation.calibration import calibrate
from mmhybrid.estimation.devices import Device
from mmhybrid.estimation.estimator import Estimator, PartCounter
from mmhybrid.estimation.latency_table import Measurement
from mmhybrid.space import GLiTSpace

COSTS = PartCounter(GLiTSpace(embed_dims=24, num_blocks=2, level='attention'), {'type': 'mmhybrid.GLiT'}, 32, 5)
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


def test_meets_the_mean_of_the_smallest_and_the_largest_network(monkeypatch):
    monkeypatch.setattr(calibration, 'LARGE', 2**16)
    milliseconds = [3.0, 40.0]
    monkeypatch.setattr(
        calibration,
        'measure',
        lambda costs, archs, *_: [Measurement(arch, ms, 0.1, 5) for arch, ms in zip(archs, milliseconds, strict=True)],
    )
    model: AnalyticLatency = calibrate(DEVICE, COSTS)
    estimator = Estimator(COSTS.space, COSTS.backbone, 32, 5, model)
    small, large = (estimator(arch).latency_ms for arch in (COSTS.space.smallest(), COSTS.space.largest()))
    assert small * large == pytest.approx(3 * 40)
    assert set(model.rates.macs_per_ms) == set(PRODUCTS)


def test_only_eager():
    with pytest.raises(ValueError, match=r'backend: got .compile., allowed: eager'):
        calibrate(Device.here('cpu', 'compile', 'float32', 1, 1), COSTS)
