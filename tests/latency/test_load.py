"""A search's latency model is whatever its files hold."""

from dataclasses import replace

import pytest

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import NOMINAL, AnalyticLatency
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fitted import PRICES, FittedLatency
from mmhybrid.latency.load import build_estimator, load_latency
from mmhybrid.latency.rounds import Measurement
from mmhybrid.latency.table import Entry, LatencyTable, Uncertainty
from mmhybrid.space import GLiTSpace

SPACE = GLiTSpace(embed_dims=48, num_blocks=2, level='attention')
WORKLOAD = Workload(SPACE, {'type': 'mmhybrid.GLiT', 'img_size': 64}, 64, 5)


@pytest.fixture
def table():
    """Of the largest network's parts alone."""
    keys = {part.key for part in WORKLOAD.list_parts(SPACE.largest())}
    measured = Measurement(dict(SPACE.largest()), 12.0, 0.1, 10)
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    entries = dict.fromkeys(keys, Entry(2.0, 0.5, 10))
    return LatencyTable(
        workload=WORKLOAD.to_config(),
        device=device,
        uncertainty=Uncertainty(residual=0.1, shrink=0.5, repeatability=0.0, speed_spread=0.0),
        entries=entries,
        measurements=(measured,),
    )


@pytest.fixture
def files(table, tmp_path):
    table.save(tmp_path / 'table.json')
    AnalyticLatency(NOMINAL).save(tmp_path / 'analytic.json')
    return tmp_path / 'table.json', tmp_path / 'analytic.json'


def test_the_content_decides(files, table):
    assert load_latency(files[0]) == table
    assert load_latency(files[1]) == AnalyticLatency(NOMINAL)


def test_table_with_fallback(files):
    with pytest.raises(ValueError, match='lacks the part'):
        build_estimator(WORKLOAD, files[0])
    with pytest.warns(UserWarning, match='parts come from the analytic model'):
        estimate = build_estimator(WORKLOAD, *files)
    assert estimate(SPACE.largest()).latency_ms == pytest.approx(7 * 2.0)
    assert estimate(SPACE.smallest()).latency_ms > 0


def test_analytic_model_alone(files):
    assert build_estimator(WORKLOAD, files[1])(SPACE.smallest()).latency_ms > 0


def test_files_that_do_not_go_together(files, table):
    with pytest.raises(ValueError, match=r'analytic: got .* an analytic model itself'):
        build_estimator(WORKLOAD, files[1], files[1])
    with pytest.raises(ValueError, match=r'analytic: got .*table.json.*, allowed: an analytic or fitted model'):
        build_estimator(WORKLOAD, files[0], files[0])
    with pytest.raises(ValueError, match='num_classes 5, not 6'):
        build_estimator(Workload(SPACE, WORKLOAD.backbone, 64, 6), *files)
    replace(table, device=replace(table.device, batch=4)).save(files[0])
    elsewhere = replace(table.device, threads=4)
    AnalyticLatency(NOMINAL, 4, replace(elsewhere, batch=4)).save(files[1])
    with pytest.raises(ValueError, match=r'device.threads: got 4, allowed: that of .*, 1'):
        build_estimator(WORKLOAD, *files)
    AnalyticLatency(NOMINAL).save(files[1])
    with pytest.raises(ValueError, match=r'batch: got 1, allowed: that of .*, 4'):
        build_estimator(WORKLOAD, *files)


def test_fitted_model_in_both_places(files, table):
    model = FittedLatency(dict(PRICES), 0.1, table.device, 12)
    model.save(files[1])
    assert load_latency(files[1]) == model
    assert build_estimator(WORKLOAD, files[1])(SPACE.smallest()).latency_ms > 0
    with pytest.warns(UserWarning, match='parts come from the analytic model'):
        estimate = build_estimator(WORKLOAD, *files)
    assert estimate(SPACE.largest()).latency_ms == pytest.approx(7 * 2.0)
    assert estimate(SPACE.smallest()).latency_ms > 0
    # unlike the analytic model, it is of one backend
    replace(model, device=replace(table.device, backend='compile')).save(files[1])
    with pytest.raises(ValueError, match=r"device.backend: got 'compile', allowed: that of .*, 'eager'"):
        build_estimator(WORKLOAD, *files)


def test_other_machines_are_told(files, table):
    elsewhere = replace(table.device, name='Abacus')
    replace(table, device=elsewhere).save(files[0])
    AnalyticLatency(NOMINAL, 1, elsewhere).save(files[1])
    with (
        pytest.warns(UserWarning, match='latency table: measured with name .Abacus'),
        pytest.warns(UserWarning, match='analytic model: measured with name .Abacus'),
    ):
        build_estimator(WORKLOAD, *files)
    with pytest.warns(UserWarning, match='analytic model: measured with name .Abacus'):
        build_estimator(WORKLOAD, files[1])
