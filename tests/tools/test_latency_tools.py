"""From a config to a table to a report; mistakes end in one sentence."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from mmhybrid.estimation.analytic import AnalyticLatency
from mmhybrid.estimation.latency import load_latency

TOOLS = Path(__file__).parents[2] / 'tools'
CONFIG = """
model = dict(
    type='mmhybrid.OneShot',
    architecture=dict(
        type='ImageClassifier',
        backbone=dict(
            type='mmhybrid.Supernet',
            space=dict(type='mmhybrid.GLiTSpace', embed_dims=24, num_blocks=3, level='attention'),
            backbone=dict(type='mmhybrid.GLiT', img_size=32),
        ),
        head=dict(type='VisionTransformerClsHead', num_classes=7, in_channels=24),
    ),
)
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(CONFIG)
    return str(path)


def load(tool):
    return runpy.run_path(str(TOOLS / f'{tool}.py'))['main']


def test_table_and_report(config, tmp_path, capsys):
    threads, table, report = torch.get_num_threads(), tmp_path / 'table.json', tmp_path / 'report.json'
    few = ['--repeats', '2']
    load('profile_latency')([config, '--out', str(table), '--input-size', '32', '--networks', '9', *few])
    content = json.loads(table.read_text())
    assert content['num_classes'] == 7
    budget = sorted(network['ms'] for network in content['measurements'])[4]
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == [f'{budget:.3g}', 'ms:']
    png = tmp_path / 'report.png'
    arguments = ['--networks', '4', '--json', str(report), '--png', str(png), '--breakdown', 'largest']
    load('latency_report')([str(table), *few, *arguments])
    figures = json.loads(report.read_text())
    assert figures['measurements'] == 9
    assert {'within_10pct', 'mape', 'kendall_tau', 'macs_line.mape', 'alone.mape'} <= set(figures)
    assert png.stat().st_size > 0
    assert 'attention' in capsys.readouterr().out
    model = tmp_path / 'analytic.json'
    load('profile_latency')([config, '--analytic', '--out', str(model), '--input-size', '32'])
    for option in ('--model', '--analytic'):
        load('latency_report')([str(table), *few, '--networks', '4', option, str(model)])
    assert torch.get_num_threads() == threads


def test_analytic_model(config, tmp_path):
    path = tmp_path / 'analytic.json'
    load('profile_latency')([config, '--analytic', '--out', str(path), '--batch', '2'])
    assert load_latency(path) == AnalyticLatency.load(path)
    assert AnalyticLatency.load(path).batch == 2


@pytest.mark.parametrize(
    ('tool', 'arguments', 'word'),
    [
        ('profile_latency', ['CONFIG', '--out', 'none/table.json', '--networks', '2', '--repeats', '1'], 'folder'),
        ('profile_latency', ['CONFIG', '--out', 't.json', '--repeats', '0'], 'repeats'),
        ('profile_latency', ['CONFIG', '--out', 't.json', '--resolutions', '192'], 'resolution'),
        ('profile_latency', ['CONFIG', '--out', 't.json', '--threads', '0'], 'threads'),
        ('profile_latency', ['CONFIG', '--out', 't.json', '--threads', '2', '--clock', 'thread'], 'clock'),
        ('profile_latency', ['missing.py', '--out', 't.json'], 'missing.py'),
        ('profile_latency', ['CONFIG', '--analytic', '--out', 'none/model.json'], 'none/model.json: its folder'),
        ('latency_report', ['missing.json'], 'missing.json'),
        ('latency_report', ['missing.json', '--json', 'none/report.json'], 'none/report.json: its folder'),
        ('latency_report', ['missing.json', '--png', 'none/report.png'], 'none/report.png: its folder'),
    ],
)
def test_mistakes_end_in_one_sentence(config, tmp_path, monkeypatch, capsys, tool, arguments, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        load(tool)([config if argument == 'CONFIG' else argument for argument in arguments])
    assert end.value.code == 2
    error = capsys.readouterr().err.strip()
    assert word in error
    assert 'Traceback' not in error
