"""Figures of accuracy follow from their definitions; measuring and drawing work on a small space."""

import random

import numpy as np
import pytest
import torch

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency import held_out as judge
from mmhybrid.latency.devices import Device
from mmhybrid.latency.profile import profile
from mmhybrid.latency.table import Entry, LatencyTable, Uncertainty
from mmhybrid.latency.timing import Plan
from mmhybrid.space import Arch, GLiTSpace

BACKBONE = {'type': 'mmhybrid.GLiT', 'img_size': 32}
CERTAIN = Uncertainty(residual=0.01, shrink=0.5, repeatability=0.0, speed_spread=0.0)


def test_accuracy_figures():
    measured = np.array([10.0, 20.0, 30.0, 40.0])
    figures = judge.prediction_errors(np.array([10.5, 25.0, 30.0, 20.0]), measured)
    assert figures['within_10pct'] == 0.5
    assert figures['mape'] == pytest.approx((0.05 + 0.25 + 0 + 0.5) / 4)
    assert figures['bias'] == pytest.approx((0.05 + 0.25 + 0 - 0.5) / 4)
    assert figures['kendall_tau'] == pytest.approx(2 / 6)
    assert figures['kendall_tau_low'] <= figures['kendall_tau'] <= figures['kendall_tau_high']
    perfect = judge.prediction_errors(measured, measured)
    assert (perfect['within_10pct'], perfect['mape'], perfect['kendall_tau']) == (1, 0, 1)


def test_held_out_networks_are_new(tmp_path):
    space = GLiTSpace(embed_dims=24, num_blocks=3, level='attention')
    costs = Workload(space, BACKBONE, 32, 5)
    device = Device.here('cpu', 'eager', 'float32', 1, torch.get_num_threads())
    plan = Plan(networks=9, repeats=2, warmup=0)
    table = profile(costs, device, plan, tmp_path / 'table.json')
    archs = judge.choose_held_out(costs, table, 4, seed=0)
    held_out = judge.measure_held_out(costs, table, archs, plan)
    assert len(set(held_out.archs)) == 4
    assert not set(held_out.archs) & {Arch(m.arch) for m in table.measurements}
    assert (held_out.milliseconds > 0).all()
    assert held_out.drift > 0
    estimator = Estimator(costs, table)
    alone = judge.parts_alone(costs, table, held_out.archs, plan)
    line = judge.macs_line(estimator, table.measurements, held_out.archs)
    assert np.isfinite(line).all()
    assert (alone > 0).all()
    judge.scatter(tmp_path / 'plot.png', held_out.milliseconds, {'alone': alone, 'line': line}, 'title')
    assert (tmp_path / 'plot.png').read_bytes().startswith(b'\x89PNG')


def test_drift_is_how_much_faster_the_machine_was(monkeypatch):
    space = GLiTSpace(embed_dims=24, num_blocks=3, level='attention')
    costs, rng = Workload(space, BACKBONE, 32, 5), random.Random(0)
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    known = tuple(judge.Measurement(dict(space.sample(rng)), 10.0, 0.1, 5) for _ in range(9))
    table = LatencyTable(
        workload=costs.to_config(),
        device=device,
        uncertainty=CERTAIN,
        entries={'a': Entry(1.0, 0.1, 2)},
        measurements=known,
    )
    archs = judge.choose_held_out(costs, table, 4, seed=0)

    def twice_as_slow(costs, archs, *_):
        return [judge.Measurement(dict(arch), 20.0, 0.4, 5) for arch in archs]

    monkeypatch.setattr(judge, 'measure', twice_as_slow)
    held_out = judge.measure_held_out(costs, table, archs, Plan(repeats=2))
    assert held_out.drift == 0.5
    assert held_out.drift_spread == 0
    assert held_out.noise == pytest.approx(0.02)
    assert (held_out.milliseconds * held_out.drift == 10).all()


def test_parts_alone_are_the_sum_of_their_jobs(monkeypatch):
    """Every job takes 1 ms: a part takes as many as it has modules, in each of its copies."""
    space = GLiTSpace(embed_dims=24, num_blocks=2, level='attention')
    costs = Workload(space, BACKBONE, 32, 5)
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    table = LatencyTable(workload=costs.to_config(), device=device, uncertainty=CERTAIN, entries={})
    monkeypatch.setattr(judge.Backend, 'time_round', lambda self, jobs: [1.0 for job in jobs if job() is not None])
    (alone,) = judge.parts_alone(costs, table, [space.largest()], Plan(repeats=2))
    # patch embedding and norm; of two blocks the attention, two norms and the FFN; the classifier
    assert alone == 2 + 2 * (1 + 3) + 1


def test_held_out_needs_enough_networks():
    """Other ones than the table was measured with, here all but one of the space."""
    space, rng = GLiTSpace(embed_dims=24, num_blocks=1, level='attention'), random.Random(0)
    archs = {}
    while len(archs) < space.size():
        archs[space.sample(rng)] = None
    left, *measured = archs
    costs = Workload(space, BACKBONE, 32, 5)
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    measurements = tuple(judge.Measurement(dict(arch), 1.0, 0.1, 2) for arch in measured)
    table = LatencyTable(
        workload=costs.to_config(), device=device, uncertainty=CERTAIN, entries={}, measurements=measurements
    )
    assert judge.choose_held_out(costs, table, 1, 0) == [left]
    with pytest.raises(ValueError, match='no 2 networks'):
        judge.choose_held_out(costs, table, 2, 0)


def test_macs_line_is_a_line():
    space = GLiTSpace(embed_dims=24, num_blocks=2, level='attention')
    estimator = Estimator(Workload(space, BACKBONE, 32))
    rng = random.Random(0)
    archs = [space.sample(rng) for _ in range(6)]
    measurements = [judge.Measurement(dict(a), 3 * estimator(a).macs_m + 2, 0.1, 1) for a in archs]
    line = judge.macs_line(estimator, measurements, [space.largest()])
    assert line[0] == pytest.approx(3 * estimator(space.largest()).macs_m + 2)
