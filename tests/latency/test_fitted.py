"""A device that is as the fitted model supposes is found again from a dozen networks of it."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.operations import Operation, PartCost
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fitted import (
    FEW,
    PRICES,
    FittedLatency,
    choose_archs,
    features_of,
    fit_model,
    part_features,
)
from mmhybrid.latency.rounds import Measurement
from mmhybrid.models.parts import Part
from mmhybrid.space import AutoViTSpace, GLiTSpace

SPACE = AutoViTSpace('xxs')
WORKLOAD = Workload(SPACE, {'type': 'mmhybrid.AutoViT'}, None, 1000)
DEVICE = Device.here('cpu', 'eager', 'float32', 1, 1)
# unlike the nominal device: kinds that compute slowly, starts that cost nothing, a price of none
TRUTH = dict(zip(PRICES, np.array([4, 0.5, 1, 0, 2, 8, 0.3, 1, 3, 1, 0.2, 5]) * list(PRICES.values()), strict=True))


def measured(archs, noise=0.0, seed=0):
    """What the true prices say of networks, with noise."""
    rng = np.random.default_rng(seed)
    milliseconds = features_of(WORKLOAD, archs, 1) @ list(TRUTH.values())
    milliseconds *= np.exp(noise * rng.standard_normal(len(archs)))
    return [Measurement(dict(arch), ms, noise * ms, 10) for arch, ms in zip(archs, milliseconds.tolist(), strict=True)]


def others(count, seed=1):
    rng = random.Random(seed)
    return [SPACE.sample(rng) for _ in range(count)]


@pytest.mark.parametrize(('noise', 'mean_error'), [(0.0, 0.01), (0.02, 0.03)])
def test_predicts_networks_that_it_has_not_seen(noise, mean_error):
    model = fit_model(WORKLOAD, measured(choose_archs(WORKLOAD, FEW, 1, seed=0), noise), DEVICE)
    assert model.networks == FEW
    assert set(model.prices_ms) == set(PRICES)
    assert min(model.prices_ms.values()) >= 0
    archs = others(60)
    estimate = Estimator(WORKLOAD, model)
    errors = np.array([estimate(arch).latency_ms for arch in archs]) / [m.ms for m in measured(archs)] - 1
    assert np.abs(errors).mean() < mean_error
    # what it says of its own error is about what it is; networks are chosen to be far from each other
    assert np.abs(errors).max() < 4 * model.error + 0.01


def test_error_is_that_of_networks_left_out():
    """A network that takes double the time is off by a half under the others' prices, however many prices there are."""
    archs = others(30)
    plain = fit_model(WORKLOAD, measured(archs), DEVICE)
    odd = measured(archs)
    odd[7] = replace(odd[7], ms=2 * odd[7].ms)
    assert plain.error < 0.01
    assert fit_model(WORKLOAD, odd, DEVICE).error > 0.4 / np.sqrt(30)


def test_bound():
    model = FittedLatency(TRUTH, 0.1, DEVICE, FEW)
    cost = Estimator(WORKLOAD, model)(SPACE.smallest())
    assert cost.latency_upper_ms == pytest.approx(1.1645 * cost.latency_ms)


def test_features_of_a_part():
    operations = (Operation('depthwise', 100, 30, 9), Operation('other', 0, 7, 0), Operation('other', 0, 5, 2))
    found = dict(zip(PRICES, part_features(Part('block', {}), PartCost(0, 100, operations), 4), strict=True))
    expected = {
        'depthwise.start': 1,
        'depthwise.element': 4 * 30 + 9,  # weights move once for the batch
        'depthwise.mac': 400,
        'other.start': 2,
        'other.element': 4 * 12 + 2,
    }
    assert found == {**dict.fromkeys(PRICES, 0), **expected}
    found = dict(zip(PRICES, part_features(Part('head', {}), PartCost(110, 100), 2), strict=True))
    assert found == {**dict.fromkeys(PRICES, 0), 'matmul.start': 1, 'matmul.element': 110, 'matmul.mac': 200}
    found = dict(zip(PRICES, part_features(Part('network', {}), PartCost(0, 0), 2), strict=True))
    assert found == {**dict.fromkeys(PRICES, 0), 'network': 1}


def test_features_of_a_network_are_those_of_its_parts():
    arch = others(1)[0]
    (row,) = features_of(WORKLOAD, [arch], 1)
    macs = sum(value for name, value in zip(PRICES, row, strict=True) if name.endswith('.mac'))
    assert macs == pytest.approx(1e6 * Estimator(WORKLOAD)(arch).macs_m)
    assert dict(zip(PRICES, row, strict=True))['network'] == 1


def test_chosen_networks():
    archs = choose_archs(WORKLOAD, FEW, 1, seed=3)
    assert archs == choose_archs(WORKLOAD, FEW, 1, seed=3)
    assert archs[:2] == [SPACE.largest(), SPACE.smallest()]
    assert len(set(archs)) == FEW
    # they leave less open than as many random ones
    left = {}
    for name, chosen in {'chosen': archs, 'random': others(FEW)}.items():
        rows = features_of(WORKLOAD, chosen, 1) * list(PRICES.values())
        rows /= rows.sum(axis=1, keepdims=True)
        covariance = np.linalg.inv(np.eye(len(PRICES)) + rows.T @ rows / 0.03**2)
        left[name] = np.linalg.slogdet(covariance)[1]
    assert left['chosen'] < left['random']


def test_a_space_of_few_networks():
    space = GLiTSpace(embed_dims=48, num_blocks=1, level='attention')
    workload = Workload(space, {'type': 'mmhybrid.GLiT', 'img_size': 64}, 64, 5)
    archs = choose_archs(workload, 100, 1, seed=0)
    assert len(archs) == len(set(archs)) < 100


def test_file(tmp_path):
    path = tmp_path / 'model.json'
    model = FittedLatency(TRUTH, 0.1, DEVICE, FEW)
    model.save(path)
    assert FittedLatency.load(path) == model
    good = json.loads(path.read_text())
    for change, message in (
        ({'format': 2}, 'format: got 2, allowed: 1'),
        ({'error': -1}, 'error: got -1'),
        ({'networks': 0}, 'networks: got 0'),
        ({'prices_ms': {**TRUTH, 'matmul.mac': -1e-9}}, r'prices_ms\.matmul\.mac: got -1e-09'),
        ({'prices_ms': {'matmul.mac': 1}}, 'prices_ms'),
        ({'device': {'device': 'cpu'}}, 'device'),
        ({'more': 1}, 'more'),
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(ValueError, match=message):
            FittedLatency.load(path)
