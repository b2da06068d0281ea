"""A device in a process of its own, which is far away: what counts is what its own clock says."""

import re
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from mmhybrid.counting.workload import Workload
from mmhybrid.latency import design
from mmhybrid.latency.backends import BACKENDS, Backend
from mmhybrid.latency.devices import Device
from mmhybrid.latency.profile import profile
from mmhybrid.latency.timing import Plan
from mmhybrid.space import GLiTSpace

LATENCY = Path(__file__).parents[2] / 'docs/latency.md'
# Needs 6 ms and one more for each thousand parameters, half as much again in the first run, and answers late.
DEVICE = """
import json, sys, time
from pathlib import Path
path, runs = sys.argv[1:]
time.sleep(0.045)
milliseconds = 6 + int(Path(path).read_text()) / 1000
with Path('calls.txt').open('a') as calls:
    calls.write(f'{path} {runs}\\n')
print(json.dumps([1.5 * milliseconds] + [milliseconds] * (int(runs) - 1)))
"""


@pytest.fixture
def phone(monkeypatch, tmp_path):
    """The class of the document's recipe, for a process of this machine; networks are files with their size."""
    monkeypatch.setitem(BACKENDS, 'phone', Backend)
    (block,) = re.findall(r'```python\n((?:(?!```).)*class Phone.*?)```', LATENCY.read_text(), re.DOTALL)
    exec(block, {'__name__': 'recipe'})
    monkeypatch.setattr(design, 'POOL_SIZE', 30)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'phone').mkdir()
    (tmp_path / 'device.py').write_text(textwrap.dedent(DEVICE))
    phone = BACKENDS['phone']
    monkeypatch.setattr(phone, 'copy', ('cp',))
    monkeypatch.setattr(phone, 'run', (sys.executable, 'device.py'))
    monkeypatch.setattr(phone, 'folder', 'phone')

    def write_size(network, images, path, **options):
        Path(path).write_text(str(sum(parameter.numel() for parameter in network.parameters())))

    monkeypatch.setattr(torch.onnx, 'export', write_size)
    return Device.here('phone', 'phone', 'float32', 1, 1)


def test_the_way_there_and_back_is_not_in_the_table(phone, tmp_path):
    space = GLiTSpace(embed_dims=24, num_blocks=2, level='attention')
    workload = Workload(space, {'type': 'mmhybrid.GLiT', 'img_size': 32, 'patch_size': 16}, 32, 5)
    plan = Plan(networks=4, repeats=2, warmup=1)
    table = profile(workload, phone, plan, tmp_path / 'table.json')
    assert table.device.name == 'Telephone 3'
    for network in table.measurements:
        assert network.ms == pytest.approx(6 + workload.params(network.arch) / 1000)
    calls = (tmp_path / 'calls.txt').read_text().splitlines()
    assert {line.split()[1] for line in calls} == {'3'}
    assert len(calls) == 2 * plan.networks * (plan.warmup + plan.repeats)  # one a network and round, in both measurings


@pytest.mark.parametrize(
    ('answer', 'word'),
    [
        ([7.0], r'milliseconds: got \[7.0\], allowed: a list of 3'),
        ('777', "milliseconds: got '777', allowed: a list of 3"),
        ([7.0, 'x', 7.0], "milliseconds: got 'x'"),
        ([7.0, 7.0, 0], 'milliseconds: got 0, allowed: a number > 0'),
        ([7.0, float('nan'), 7.0], 'milliseconds: got nan'),
    ],
)
def test_what_a_device_says_is_checked(answer, word, monkeypatch):
    backend = Backend('cpu', 'float32', 1)
    monkeypatch.setattr(Backend, 'times', lambda self, job, runs: answer)
    with pytest.raises(ValueError, match=word):
        backend.time_round([lambda: None])
