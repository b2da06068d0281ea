"""From a config to a table to a report; mistakes end in one sentence."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exported_toy import Toy
from far_device import make_device, run_there
from small_supernet import SUPERNET

from mmhybrid.commands import latency_report
from mmhybrid.counting.estimator import Estimator
from mmhybrid.latency import backends, design, held_out
from mmhybrid.latency.analytic import MODEL_STD, AnalyticLatency
from mmhybrid.latency.breakdown import operator_breakdown
from mmhybrid.latency.devices import Device
from mmhybrid.latency.load import load_latency
from mmhybrid.latency.table import LatencyTable
from mmhybrid.torch_api import EXPORTING

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(SUPERNET)
    return str(path)


def load(tool):
    return runpy.run_path(str(TOOLS / f'{tool}.py'))['main']


def test_table_and_report(config, tmp_path, monkeypatch, capsys):
    threads, table, report = torch.get_num_threads(), tmp_path / 'table.json', tmp_path / 'report.json'
    few = ['--repeats', '2']
    setting = ['--input-size', '32', '--threads', f'{threads + 1}']
    load('profile_latency')([config, '--out', str(table), *setting, '--networks', '9', *few])
    content = json.loads(table.read_text())
    assert content['num_classes'] == 7
    budget = sorted(network['ms'] for network in content['measurements'])[4]
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == [f'{budget:.3g}', 'ms:']
    png = tmp_path / 'report.png'
    arguments = ['--networks', '4', '--json', str(report), '--png', str(png), '--breakdown', 'largest']
    threads_of_breakdown = []

    def take_apart(*arguments):
        threads_of_breakdown.append(torch.get_num_threads())
        return operator_breakdown(*arguments)

    monkeypatch.setattr(latency_report, 'operator_breakdown', take_apart)
    load('latency_report')([str(table), *few, *arguments])
    assert threads_of_breakdown == [content['device']['threads']]
    figures = json.loads(report.read_text())
    assert figures['measurements'] == 9
    assert {'within_10pct', 'mape', 'kendall_tau', 'macs_line.mape', 'alone.mape', 'drift_spread'} <= set(figures)
    measured = np.array([network['measured_ms'] for network in figures['networks']])
    estimated = np.array([network['estimated_ms'] for network in figures['networks']])
    assert len({str(network['arch']) for network in figures['networks']}) == 4
    assert figures['mape'] == pytest.approx(np.abs(estimated / measured - 1).mean())
    assert all(network['upper_ms'] > network['estimated_ms'] for network in figures['networks'])
    assert png.stat().st_size > 0
    assert figures['breakdown.largest.attention'] > 0
    # the same network in the table's backend, by its clock: of the order of the measured ones
    assert measured.min() / 5 < figures['breakdown.largest.measured'] < 20 * measured.max()
    assert 'attention' in capsys.readouterr().out
    assert torch.get_num_threads() == threads


@pytest.mark.torch_since(*EXPORTING)
def test_operators_of_the_runtime_of_a_table(capsys):
    pytest.importorskip('onnxruntime')
    table = SimpleNamespace(device=Device.here('cpu', 'onnxruntime', 'float32', 1, 1))
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Softmax(dim=1)).eval()
    network.in_channels = 3
    breakdown, by_runtime = latency_report.take_apart({'mine': (network, (32, 32))}, table)
    assert breakdown['mine']['measured'] > 0
    assert set(by_runtime['mine']) >= {'Conv', 'Softmax'}
    latency_report.print_operators(by_runtime, 'onnxruntime')
    lines = capsys.readouterr().out.splitlines()
    assert any('Conv' in line for line in lines)
    assert f'{sum(by_runtime["mine"].values()):.2f}' in lines[-2]


def test_networks_measured_beside(config, tmp_path, monkeypatch, capsys):
    table, report = tmp_path / 'table.json', tmp_path / 'report.json'
    setting = ['--input-size', '32', '--threads', '1', '--repeats', '2', '--networks', '5']
    load('profile_latency')([config, '--out', str(table), *setting])
    with pytest.raises(SystemExit):
        load('latency_report')([str(table), '--recorded'])
    assert '0 held-out networks, allowed: at least 2' in capsys.readouterr().err
    load('profile_latency')([config, '--out', str(table), *setting, '--held-out', '4'])
    assert 'of 4 other networks are within 10 %' in capsys.readouterr().out
    content = json.loads(table.read_text())
    assert len(content['measurements']) == 5
    assert len({str(network['arch']) for network in [*content['measurements'], *content['held_out']]}) == 9
    # of a machine that cannot be reached from here, by a runtime that is not installed
    content['device'] |= {'backend': 'teapot', 'device': 'npu', 'name': 'Abacus'}
    table.write_text(json.dumps(content))
    monkeypatch.setattr(held_out, 'measure', None)
    load('latency_report')([str(table), '--recorded', '--json', str(report)])
    figures = json.loads(report.read_text())
    assert figures['held_out'] == 4
    estimate = Estimator(load_latency(table).build_workload(), load_latency(table))
    errors = [abs(estimate(network['arch']).latency_ms / network['ms'] - 1) for network in content['held_out']]
    assert figures['mape'] == pytest.approx(np.mean(errors))
    with pytest.raises(SystemExit):
        load('latency_report')([str(table), '--recorded', '--breakdown', 'largest'])


def test_report_of_an_analytic_model(config, tmp_path, capsys):
    table, model, few = str(tmp_path / 'table.json'), str(tmp_path / 'analytic.json'), ['--repeats', '2']
    setting = [config, '--input-size', '32', '--threads', '1']
    load('profile_latency')([*setting, '--out', table, '--networks', '9', *few])
    load('profile_latency')([*setting, '--out', model, '--analytic'])
    capsys.readouterr()
    reports = {}
    for option in ('--model', '--analytic'):
        path = tmp_path / 'report.json'
        load('latency_report')([table, option, model, *few, '--networks', '3', '--json', str(path)])
        reports[option] = json.loads(path.read_text())
    assert 'figures are coarse' in capsys.readouterr().out
    raw = json.loads(Path(model).read_text())
    raw['batch'] = raw['device']['batch'] = 8
    Path(model).write_text(json.dumps(raw))
    with pytest.raises(SystemExit):
        load('latency_report')([table, '--model', model])
    assert 'batch: got 8, allowed: that of' in capsys.readouterr().err
    assert reports['--model']['upper_over_estimate'] == pytest.approx(1 + 1.645 * MODEL_STD)
    # the table has all parts, so that the model fills nothing in
    judge = Estimator(LatencyTable.load(table).build_workload(), LatencyTable.load(table))
    for network in reports['--analytic']['networks']:
        cost = judge(network['arch'])
        assert (network['estimated_ms'], network['upper_ms']) == (cost.latency_ms, cost.latency_upper_ms)


def test_mistakes_are_found_before_measuring(config, tmp_path, monkeypatch, capsys):
    path = tmp_path / 'table.json'
    load('profile_latency')([config, '--out', str(path), '--input-size', '32', '--networks', '9', '--repeats', '2'])
    monkeypatch.setattr(held_out, 'measure_held_out', None)
    raw = json.loads(path.read_text())
    raw['entries'].pop('stem width=24 side=32')
    (tmp_path / 'gap.json').write_text(json.dumps(raw))
    for arguments, word in (
        ([str(path), '--breakdown', 'mobilevit_xxz'], 'mobilevit_xxz'),
        ([str(path), '--import', 'no_such_module'], 'no_such_module'),
        ([str(tmp_path / 'gap.json')], '"stem width=24 side=32" was not measured'),
    ):
        with pytest.raises(SystemExit):
            load('latency_report')(arguments)
        assert word in capsys.readouterr().err


def test_backend_of_ones_own(config, tmp_path, monkeypatch, capsys):
    """Named by the config's custom_imports where it is measured, by --import where it is judged."""
    (tmp_path / 'slow_phone.py').write_text("""
from mmhybrid.latency.backends import BACKENDS, Backend

class Phone(Backend):
    devices = ('phone',)
    def build(self, network, images):
        return lambda: sum(range(10_000))

BACKENDS['slow-phone'] = Phone
""")
    monkeypatch.syspath_prepend(str(tmp_path))
    Path(config).write_text(SUPERNET + "custom_imports = dict(imports=['slow_phone'])\n")
    table, named = tmp_path / 'table.json', ['--device', 'phone', '--backend', 'slow-phone']
    few = ['--repeats', '2', '--networks', '9']
    load('profile_latency')([config, '--out', str(table), '--input-size', '32', *named, *few])
    device = json.loads(table.read_text())['device']
    assert (device['device'], device['backend']) == ('phone', 'slow-phone')
    backends.BACKENDS.pop('slow-phone')
    sys.modules.pop('slow_phone')
    with pytest.raises(SystemExit):
        load('latency_report')([str(table), '--networks', '2', '--repeats', '2'])
    assert 'slow-phone' in capsys.readouterr().err
    judged = ['--networks', '3', '--repeats', '2', '--import', 'slow_phone', '--json', str(tmp_path / 'report.json')]
    load('latency_report')([str(table), *judged, '--png', str(tmp_path / 'report.png')])
    figures = json.loads((tmp_path / 'report.json').read_text())
    assert figures['held_out'] == 3
    assert 'macs_line.mape' in figures
    assert 'alone.mape' not in figures  # torch knows no such device
    with pytest.raises(SystemExit):
        load('latency_report')([str(table), *judged, '--breakdown', 'largest'])
    assert "torch does not run on 'phone'" in capsys.readouterr().err
    backends.BACKENDS.pop('slow-phone', None)


@pytest.mark.torch_since(*EXPORTING)
def test_a_table_of_another_machine(config, tmp_path, monkeypatch, capsys):
    """Whose options are those of the bundle."""
    monkeypatch.setattr(design, 'POOL_SIZE', 30)
    monkeypatch.setattr(backends.OnnxRuntimeBackend, 'export', Toy.export)
    monkeypatch.chdir(tmp_path)
    setting = ['--input-size', '32', '--networks', '9', '--repeats', '2', '--backend', 'onnxruntime']
    load('profile_latency')([config, '--bundle', 'bundle', *setting])
    assert 'copy it to the device, run measure.py there, and bring back timings.json' in capsys.readouterr().out
    done = run_there(tmp_path / 'bundle', make_device(tmp_path / 'device'))
    assert done.returncode == 0, done.stderr
    back = [config, '--timings', 'bundle/timings.json', '--out', 'table.json']
    load('profile_latency')([*back, '--input-size', '32'])
    table = LatencyTable.load('table.json')
    assert len(table.measurements) == 9
    assert capsys.readouterr().out.splitlines()[-2].startswith('0.0 %: standard deviation of the speed of')
    for arguments, word in (
        (back, 'setting.input_size was 32, now 224'),
        ([*back, '--input-size', '32', '--networks', '9'], '--networks: got 9, allowed: nothing'),
        ([*back, '--input-size', '32', '--held-params', '9'], '--held-params: got 9, allowed: nothing'),
        ([*back, '--backend', 'onnxruntime'], "--backend: got 'onnxruntime', allowed: nothing"),
        ([*back[:-1], 'none/table.json', '--input-size', '32'], 'none/table.json: its folder does not exist'),
        ([config, '--bundle', 'other', '--input-size', '0'], 'input_size: got 0'),
        ([config, '--bundle', 'other'], "backend: got 'eager', allowed: what runs exported networks elsewhere"),
        ([config, '--bundle', 'other', '--analytic'], 'not allowed with'),
        ([config, '--bundle', 'other', '--out', 'table.json'], '--out FILE is required, except with --bundle DIR'),
        ([config], '--out FILE is required'),
        ([config, '--remote', 'board'], '--out FILE is required'),
        ([config, '--remote', '-oProxyCommand=id', '--out', 'o.json'], 'expected one argument'),
        (
            [config, '--remote=-oProxyCommand=id', '--out', 'o.json'],
            "remote: got '-oProxyCommand=id', allowed: [USER@]",
        ),
        (
            [config, '--remote', 'a', '--out', 'o.json', '--remote-python', 'a b', *setting],
            "python: got 'a b', allowed",
        ),
        ([config, '--remote', 'board', '--bundle', 'other'], 'not allowed with'),
        ([config, '--fit', '--held-out', '3', '--out', 'o.json'], '--held-out: not allowed with --fit'),
        ([config, '--pause', '5', '--out', 'table.json'], '--remote-python and --pause are for --remote HOST'),
    ):
        with pytest.raises(SystemExit) as end:
            load('profile_latency')(arguments)
        assert end.value.code == 2
        assert word in capsys.readouterr().err
    assert not Path('other').exists()


def test_analytic_model(config, tmp_path):
    path = tmp_path / 'analytic.json'
    load('profile_latency')([config, '--analytic', '--out', str(path), '--batch', '2'])
    assert load_latency(path) == AnalyticLatency.load(path)
    assert AnalyticLatency.load(path).batch == 2


def test_fitted_model(config, tmp_path, capsys):
    path = tmp_path / 'model.json'
    load('profile_latency')([config, '--fit', '--out', str(path), '--networks', '4', '--repeats', '3'])
    assert load_latency(path).networks == 4
    assert 'from 4 networks' in capsys.readouterr().out
    load('profile_latency')([config, '--out', str(tmp_path / 'table.json'), '--networks', '4', '--repeats', '3'])
    figures = tmp_path / 'figures.json'
    judged = [str(tmp_path / 'table.json'), '--model', str(path), '--networks', '4', '--repeats', '3']
    load('latency_report')([*judged, '--json', str(figures)])
    assert json.loads(figures.read_text())['mape'] < 1


@pytest.mark.parametrize(
    ('tool', 'arguments', 'word'),
    [
        ('profile_latency', ['SUPERNET', '--out', 'none/table.json', '--networks', '2', '--repeats', '2'], 'folder'),
        ('profile_latency', ['SUPERNET', '--out', 't.json', '--repeats', '1'], 'repeats'),
        ('profile_latency', ['SUPERNET', '--out', 't.json', '--resolutions', '192'], 'resolution'),
        ('profile_latency', ['SUPERNET', '--out', 't.json', '--threads', '0'], 'threads'),
        ('profile_latency', ['SUPERNET', '--out', 't.json', '--threads', '2', '--clock', 'thread'], 'clock'),
        ('profile_latency', ['SUPERNET', '--out', 't.json', '--backend', 'magic'], 'backend'),
        ('profile_latency', ['SUPERNET', '--analytic', '--out', 't.json', '--backend', 'compile'], 'backend'),
        ('profile_latency', ['missing.py', '--out', 't.json'], 'missing.py'),
        ('profile_latency', ['SUPERNET', '--analytic', '--out', 'none/model.json'], 'none/model.json: its folder'),
        ('latency_report', ['missing.json'], 'missing.json'),
        ('latency_report', ['missing.json', '--cfg-options', 'a=1'], '--cfg-options: allowed with --config alone'),
        ('latency_report', ['missing.json', '--json', 'none/report.json'], 'none/report.json: its folder'),
        ('latency_report', ['missing.json', '--png', 'none/report.png'], 'none/report.png: its folder'),
    ],
)
def test_mistakes_end_in_one_sentence(config, tmp_path, monkeypatch, capsys, tool, arguments, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        load(tool)([config if argument == 'SUPERNET' else argument for argument in arguments])
    assert end.value.code == 2
    error = capsys.readouterr().err.strip()
    assert word in error
    assert 'Traceback' not in error
