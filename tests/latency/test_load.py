"""A search's latency model is whatever its files hold."""

from dataclasses import replace

import pytest

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.part_counter import PartCounter
from mmhybrid.latency.analytic import NOMINAL, AnalyticLatency
from mmhybrid.latency.devices import Device
from mmhybrid.latency.load import build_latency, load_latency
from mmhybrid.latency.table import Entry, LatencyTable, Measurement
from mmhybrid.space import GLiTSpace

SPACE = GLiTSpace(embed_dims=48, num_blocks=2, level='attention')
SETTING = {'space': SPACE, 'backbone': {'type': 'mmhybrid.GLiT', 'img_size': 64}, 'input_size': 64, 'num_classes': 5}


@pytest.fixture
def table():
    """Of the largest network's parts alone."""
    keys = {part.key for part in PartCounter(**SETTING).list_parts(SPACE.largest())}
    measured = Measurement(dict(SPACE.largest()), 12.0, 0.1, 10)
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    entries = dict.fromkeys(keys, Entry(2.0, 0.5, 10))
    return LatencyTable(
        SPACE.to_config(), SETTING['backbone'], 64, 5, (64,), device, 0.1, 0.5, 0.0, 0.0, entries, (measured,)
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
        build_latency(files[0], None, **SETTING)
    with pytest.warns(UserWarning, match='parts come from the analytic model'):
        filled = build_latency(*files, **SETTING)
    estimate = Estimator(**SETTING, latency=filled)
    assert estimate(SPACE.largest()).latency_ms == pytest.approx(7 * 2.0)
    assert estimate(SPACE.smallest()).latency_ms > 0


def test_analytic_model_alone(files):
    model = build_latency(files[1], None, **SETTING)
    assert Estimator(**SETTING, latency=model)(SPACE.smallest()).latency_ms > 0


def test_files_that_do_not_go_together(files, table):
    with pytest.raises(ValueError, match=r'analytic: got .* an analytic model itself'):
        build_latency(files[1], files[1], **SETTING)
    with pytest.raises(ValueError, match='rates'):
        build_latency(files[0], files[0], **SETTING)
    with pytest.raises(ValueError, match='num_classes 5, not 6'):
        build_latency(*files, **{**SETTING, 'num_classes': 6})
    replace(table, device=replace(table.device, batch=4)).save(files[0])
    elsewhere = replace(table.device, threads=4)
    AnalyticLatency(NOMINAL, 4, replace(elsewhere, batch=4)).save(files[1])
    with pytest.raises(ValueError, match=r'device.threads: got 4, allowed: that of .*, 1'):
        build_latency(*files, **SETTING)
    AnalyticLatency(NOMINAL).save(files[1])
    with pytest.raises(ValueError, match=r'batch: got 1, allowed: that of .*, 4'):
        build_latency(*files, **SETTING)


def test_other_machines_are_told(files, table):
    elsewhere = replace(table.device, name='Abacus')
    replace(table, device=elsewhere).save(files[0])
    AnalyticLatency(NOMINAL, 1, elsewhere).save(files[1])
    with (
        pytest.warns(UserWarning, match='latency table: measured with name .Abacus'),
        pytest.warns(UserWarning, match='analytic model: measured with name .Abacus'),
    ):
        build_latency(files[0], files[1], **SETTING)
    with pytest.warns(UserWarning, match='analytic model: measured with name .Abacus'):
        build_latency(files[1], None, **SETTING)
