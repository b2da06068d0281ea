"""The fit finds known latencies of parts again, whatever law they follow, and says how sure it is."""

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import AnalyticLatency, Rates
from mmhybrid.latency.design import choose_networks
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fit import Prior, most_likely
from mmhybrid.latency.profile import build_table
from mmhybrid.latency.rounds import Measurement
from mmhybrid.latency.timing import Plan
from mmhybrid.space import AutoViTSpace

AUTOVIT = {'type': 'mmhybrid.AutoViT'}
DEVICE = Device.here('cpu', 'eager', 'float32', 1, 1)
PRODUCTS = ('convolution', 'depthwise', 'matmul')
# Each operation starts slowly and computes fast, as eager torch does on a GPU.
LAUNCH_BOUND = Rates(
    macs_per_ms={'convolution': 5e9, 'depthwise': 5e8, 'matmul': 5e9},
    elements_per_ms=5e8,
    start_ms=dict.fromkeys((*PRODUCTS, 'other'), 0.008),
    parallel_macs=dict.fromkeys(PRODUCTS, 0.0),
)


@pytest.fixture(scope='module')
def xxs():
    """The XXS space at one resolution, and networks that nobody has measured."""
    costs = Workload(AutoViTSpace('xxs', restrict={'resolution': 256}), AUTOVIT, None, 1000)
    rng = random.Random(5)
    return costs, [costs.space.sample(rng) for _ in range(200)]


@cache
def chosen(costs, networks):
    return choose_networks(costs, 256, Plan(networks=networks))


def compute_bound(costs, keys):
    """What the prior says, times a factor for the kind and one for the part."""
    kinds = sorted({key.partition(' ')[0] for key in keys})
    by_kind = dict(zip(kinds, np.random.default_rng(0).uniform(0.4, 2.5, len(kinds)), strict=True))
    factors = [7 * by_kind[key.partition(' ')[0]] * own_factor(key) for key in keys]
    return Prior.of_parts(costs, keys, 1).means * factors


def own_factor(key):
    return random.Random(key).uniform(0.8, 1.25)


def launch_bound(costs, keys):
    """What a device takes on which the number of operations decides."""
    model = AnalyticLatency(LAUNCH_BOUND)
    parts = [costs.known[key] for key in keys]
    return np.array([0.2 if p.kind == 'network' else model.part_latency(p, costs.cost_of(p)).ms for p in parts])


def simulate(costs, archs, truth, noise, seed):
    """Latencies of networks that are the sum of their parts, and the same with noise."""
    keys, counts = costs.composition(archs)
    exact = counts @ truth(costs, keys)
    return exact, exact * np.random.default_rng(seed).normal(1, noise, len(archs))


def with_uncertainty(table, **figures):
    return replace(table, uncertainty=replace(table.uncertainty, **figures))


def fitted(xxs, truth, noise, networks, seed=1):
    """Estimates of networks that were not measured, and what they take."""
    costs, others = xxs
    archs = chosen(costs, networks)
    exact, times = simulate(costs, [*archs, *others], truth, noise, seed)
    pairs = zip(archs, times, strict=False)
    measured = [Measurement(dict(arch), ms, max(noise, 1e-4) * ms, 20) for arch, ms in pairs]
    table = build_table(costs, measured, measured[:2], 0.0, DEVICE)
    estimator = Estimator(costs, table)
    return [estimator(arch) for arch in others], exact[len(archs) :], table


@pytest.mark.parametrize('truth', [compute_bound, launch_bound])
@pytest.mark.parametrize(('noise', 'error'), [(0.0, 0.005), (0.02, 0.02)])
def test_predicts_networks_it_has_not_seen(xxs, truth, noise, error):
    costs, exact, _ = fitted(xxs, truth, noise, 90)
    errors = np.array([cost.latency_ms for cost in costs]) / exact - 1
    assert np.abs(errors).mean() < error
    assert abs(errors.mean()) < 0.01


def test_predicts_from_fewer_networks(xxs):
    costs, exact, _ = fitted(xxs, compute_bound, 0.02, 60)
    errors = np.array([cost.latency_ms for cost in costs]) / exact - 1
    assert np.abs(errors).mean() < 0.02


@pytest.mark.parametrize('truth', [compute_bound, launch_bound])
def test_upper_bound_means_95_percent(xxs, truth):
    """Over several measurements of the same device: errors of one fit are common to many networks."""
    below, widths = [], []
    for seed in range(6):
        costs, exact, _ = fitted(xxs, truth, 0.02, 90, seed)
        bounds = np.array([cost.latency_upper_ms for cost in costs])
        below.append(np.mean(exact <= bounds))
        widths.append(np.mean(bounds / [cost.latency_ms for cost in costs]))
    assert 0.9 < np.mean(below) < 0.99
    assert np.mean(widths) < 1.05


def test_upper_bound_means_95_percent_of_networks_measured_another_time(xxs):
    """Each measuring of a network is 4 % off, four times what its rounds tell; of some, the machine is slower too."""
    costs, others = xxs
    archs = chosen(costs, 60)

    def measure(archs, speed, seed):
        _, times = simulate(costs, archs, compute_bound, 0.04, seed)
        return [Measurement(dict(arch), speed * ms, 0.01 * ms, 20) for arch, ms in zip(archs, times, strict=True)]

    below, without = [], []
    for seed in range(0, 18, 3):
        table = build_table(costs, measure(archs, 1.0, seed), measure(archs[::4], 1.1, seed + 1), 0.0, DEVICE)
        assert table.uncertainty.repeatability == pytest.approx(0.04, rel=0.5)
        for judged, shares in ((table, below), (with_uncertainty(table, repeatability=0.0), without)):
            estimator = Estimator(costs, judged)
            bounds = [estimator(arch).latency_upper_ms for arch in others]
            shares.append(
                np.mean([m.ms <= bound for m, bound in zip(measure(others, 1.0, seed + 2), bounds, strict=True)])
            )
    assert 0.9 < np.mean(below) < 0.99
    assert np.mean(without) < 0.9


def test_upper_bound_means_95_percent_where_the_speed_of_the_machine_varies(xxs):
    """By 5 % from one time to another, for all networks alike."""
    costs, exact, table = fitted(xxs, compute_bound, 0.0, 90)
    estimator = Estimator(xxs[0], with_uncertainty(table, speed_spread=0.05))
    bounds = [estimator(arch).latency_upper_ms for arch in xxs[1]]
    speeds = np.exp(np.random.default_rng(0).normal(0, 0.05, 1000))
    assert 0.93 < np.mean(np.outer(speeds, exact) <= bounds) < 0.97
    assert np.mean(np.outer(speeds, exact) <= [cost.latency_upper_ms for cost in costs]) < 0.6


def test_single_parts_are_found(xxs):
    table = fitted(xxs, compute_bound, 0.0, 90)[2]
    keys = [key for key in table.entries if key.startswith('attention')]
    ratios = np.array([table.entries[key].ms for key in keys]) / (7 * Prior.of_parts(xxs[0], keys, 1).means)
    own = np.array([own_factor(key) for key in keys])
    factor = np.median(ratios / own)
    assert np.abs(ratios / (own * factor) - 1).mean() < 0.1


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_most_likely_values_are_optimal(seed, size):
    """The conditions of Karush, Kuhn and Tucker."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(size, size))
    mean, covariance = rng.normal(size=size), factor @ factor.T + 0.1 * np.eye(size)
    values = most_likely(mean, covariance)
    gradient = np.linalg.solve(covariance, values - mean)
    assert (values >= 0).all()
    assert (gradient >= -1e-6).all()
    assert np.abs(values * gradient).max() < 1e-6


def test_positive_means_stay():
    mean = np.array([1.0, 2.0])
    assert most_likely(mean, np.array([[2.0, -1.0], [-1.0, 3.0]])) == pytest.approx(mean)
