"""What benchmarks write is what others read: their keys, and the machine."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a script, on as many threads afterwards as before."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    yield import_module
    torch.set_num_threads(threads)


def test_estimator_speed(benchmark, tmp_path, capsys):
    benchmark('estimator_speed').main(['--archs', '50', '--json', str(tmp_path / 'speed.json')])
    figures = json.loads((tmp_path / 'speed.json').read_text())
    of_spaces = [figures[f'archs_per_s.{space}'] for space in ('AutoViT', 'GLiT', 'GLNet')]
    assert figures['archs_per_s'] == min(of_spaces) > 0
    assert figures['machine.threads'] == 1
    assert 'AutoViT: ' in capsys.readouterr().out


def test_the_machine_of_a_gpu_has_its_name(benchmark, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'Abacus 3000')
    common = benchmark('_common')
    assert common.describe_machine('cuda')['machine.gpu'] == 'Abacus 3000'
    assert 'machine.gpu' not in common.describe_machine('cpu')
