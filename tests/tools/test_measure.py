"""``tools/measure.py``: what is measured is the backend's time, what is predicted the table's."""

import json
import runpy
from pathlib import Path

import pytest
from small_supernet import SUPERNET

from mmhybrid.commands.measure import main
from mmhybrid.commands.profile_latency import main as profile
from mmhybrid.counting.estimator import Estimator
from mmhybrid.latency import backends
from mmhybrid.latency.backends import Backend
from mmhybrid.latency.table import LatencyTable

CLASSIFIER = """
custom_imports = dict(imports=['mmhybrid'])
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='mmhybrid.AutoViT', arch='xxs'),
             neck=dict(type='GlobalAveragePooling'), head=dict(type='LinearClsHead', num_classes=5, in_channels=480))
"""


class Clock(Backend):
    """A device whose runs take turns to need 7 and 9 ms, and which tells what it was given."""

    devices = ('toy',)
    packages = ()
    given = []

    @staticmethod
    def device_name(device):
        """Of the toy."""
        return 'toy'

    def build(self, network, images):
        """Run nothing."""
        self.given.append((network, images))
        return lambda: None

    def milliseconds(self, job):
        """The faster of two is 7."""
        self.given.append(job)
        return 7.0 if len(self.given) % 2 else 9.0


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(backends.BACKENDS, 'toy', Clock)
    monkeypatch.setattr(Clock, 'given', [])
    return ['--backend', 'toy', '--device', 'toy', '--threads', '1']


@pytest.fixture
def table(tmp_path):
    (tmp_path / 'supernet.py').write_text(SUPERNET)
    path = tmp_path / 'table.json'
    few = ['--networks', '9', '--repeats', '2', '--input-size', '32', '--threads', '1']
    profile([str(tmp_path / 'supernet.py'), '--out', str(path), *few])
    return path


def test_a_config_in_its_deployed_form(toy, tmp_path, capsys):
    (tmp_path / 'config.py').write_text(CLASSIFIER)
    figures = tmp_path / 'figures.json'
    main([str(tmp_path / 'config.py'), *toy, '--shape', '64', '96', '--batch', '2', '--json', str(figures)])
    network, images = Clock.given[0]
    assert images.shape == (2, 3, 64, 96)
    assert network(images).shape == (2, 5)
    assert not any('BatchNorm' in type(module).__name__ for module in network.modules())
    assert 'measured: 7 ms' in capsys.readouterr().out
    written = json.loads(figures.read_text())
    assert written['measured']['ms'] == 7.0
    assert written['predicted'] is None


def test_a_network_of_a_table(table, tmp_path, capsys):
    content = LatencyTable.load(table)
    costs = content.build_workload()
    arch = costs.space.largest()
    genes, figures = tmp_path / 'genes.json', tmp_path / 'figures.json'
    genes.write_text(json.dumps(dict(arch)))
    capsys.readouterr()
    main([str(genes), '--table', str(table), '--json', str(figures), '--repeats', '3'])
    written = json.loads(figures.read_text())
    cost = Estimator(costs, content)(arch)
    assert written['predicted']['ms'] == pytest.approx(cost.latency_ms)
    assert written['predicted']['high'] == pytest.approx(cost.latency_upper_ms)
    low = max(0.0, 2 * cost.latency_ms - cost.latency_upper_ms)  # a busy machine's spread may exceed the latency
    assert written['predicted']['low'] == pytest.approx(low)
    assert written['measured']['ms'] > 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith('eager on ')
    assert [line.split(':')[0] for line in told[1:]] == ['measured', 'predicted']


def test_genes_of_another_space_end_with_a_sentence(table, tmp_path, capsys):
    genes = tmp_path / 'genes.json'
    genes.write_text(json.dumps({'resolution': 32}))
    with pytest.raises(SystemExit):
        main([str(genes), '--table', str(table)])
    assert 'genes.json: arch is not in the space' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (['a.json'], '--table: required with the genes of a network'),
        (['topk.csv:1', '--backend', 'eager'], '--table: required with the genes of a network'),
        (['a.py', '--arch', 'a.json'], '--table: required with the genes of a network'),
        (['a.json', '--table', 't.json', '--threads', '2'], '--threads: not allowed with --table, which sets it'),
        (['a.json', '--table', 't.json', '--batch', '0'], '--batch: not allowed with --table, which sets it'),
        (['a.py', '--batch', '0'], 'device.batch: got 0, allowed: an int from 1 to 1048576'),
        (['a.py', '--threads', '0'], 'device.threads: got 0, allowed: an int from 1 to 1024'),
    ],
)
def test_command_lines_that_say_too_much_or_too_little(words, told, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert told in capsys.readouterr().err


def test_the_tool_is_the_command():
    tool = Path(__file__).parents[2] / 'tools/measure.py'
    assert runpy.run_path(str(tool))['main'] is main
