"""`make gpu-check`: a step that hangs, fails or is interrupted costs no other's figures."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'
FIGURES = "import sys, json; json.dump({'ms': 3}, open(sys.argv[1], 'w')); "
# Writes a figure and hangs, and so does a process that it has started, whose number is in the file child.
HANGS = (
    FIGURES
    + "import subprocess, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    + "open('child', 'w').write(str(p.pid)); time.sleep(600)"
)


@pytest.fixture
def gpu_check(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module('gpu_check')


@pytest.fixture
def run(gpu_check, monkeypatch, tmp_path):
    """Runs steps in place of the real ones; gives the report's steps and the exit code."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*steps, options=()):
        monkeypatch.setattr(gpu_check, 'list_steps', lambda args: iter(steps))
        with pytest.raises(SystemExit) as ended:
            gpu_check.main(['--device', 'cpu', '--out', str(tmp_path), *options])
        report = json.loads((tmp_path / 'report.json').read_text())
        assert report['machine.torch']
        return report['steps'], ended.value.code

    yield run
    signal.signal(signal.SIGTERM, handler)


def is_alive(pid):
    stat = Path(f'/proc/{pid}/stat')
    return stat.exists() and stat.read_text().rpartition(')')[2].split()[0] != 'Z'


def test_a_step_that_hangs_is_ended_with_all_it_started(gpu_check, run, tmp_path):
    steps, code = run(
        gpu_check.Step('hangs', 4, ('-c', HANGS, '{json}')),
        gpu_check.Step('reads', 60, ('-c', 'pass'), needs='hangs'),
        gpu_check.Step('fails', 60, ('-c', "print('why'); raise SystemExit(7)")),
        gpu_check.Step('works', 60, ('-c', FIGURES, '{json}')),
    )
    assert [(name, step['status'], step['reason']) for name, step in steps.items()] == [
        ('hangs', 'timed out', 'after 4 s'),
        ('reads', 'skipped', 'hangs: timed out'),
        ('fails', 'failed', 'exit code 7'),
        ('works', 'done', ''),
    ]
    assert steps['hangs']['figures'] == steps['works']['figures'] == {'ms': 3}
    assert (tmp_path / 'fails.log').read_text() == 'why\n'
    assert not is_alive((tmp_path / 'child').read_text())
    assert code == 1


def test_a_step_begins_without_what_an_earlier_run_left(gpu_check, run, tmp_path):
    (tmp_path / 'search').mkdir()
    (tmp_path / 'search.json').write_text('{}')
    run(gpu_check.Step('other', 60, ('-c', 'pass')))
    assert (tmp_path / 'search').exists()
    steps, _ = run(gpu_check.Step('search', 60, ('-c', 'import os, sys; sys.exit(os.path.exists("search"))')))
    assert steps['search']['status'] == 'done'
    assert steps['search']['figures'] is None


def test_what_compiles_is_skipped_without_a_compiler(gpu_check, run, monkeypatch, tmp_path):
    (tmp_path / 'empty').mkdir()
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setenv('PATH', str(tmp_path / 'empty'))
    steps, code = run(
        gpu_check.Step('compiled', 60, ('-c', 'pass'), compiles=True), gpu_check.Step('eager', 60, ('-c', 'pass'))
    )
    assert steps['compiled']['status'] == 'skipped'
    assert steps['compiled']['reason'] == 'no C++ compiler (g++, clang++)'
    assert steps['eager']['status'] == 'done'
    assert code == 0


def test_all_steps_together_have_a_limit(gpu_check, run):
    began = time.monotonic()
    steps, _ = run(
        *(gpu_check.Step(name, 300, ('-c', 'import time; time.sleep(300)')) for name in ('first', 'second')),
        options=['--limit-s', '6'],
    )
    assert [step['status'] for step in steps.values()] == ['timed out', 'skipped']
    assert steps['second']['reason'] == 'the 6 s are over'
    assert time.monotonic() - began < 60


def test_an_interrupted_run_keeps_what_it_has(tmp_path):
    """Ended as `timeout` ends it; no process is left."""
    script = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import gpu_check
works = gpu_check.Step('works', 60, ('-c', {FIGURES!r}, '{{json}}'))
hangs = gpu_check.Step('hangs', 600, ('-c', {HANGS!r}, '{{json}}'))
gpu_check.list_steps = lambda args: iter([works, hangs, works])
gpu_check.main(['--device', 'cpu', '--out', {str(tmp_path)!r}])
"""
    process = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.DEVNULL)
    child = tmp_path / 'child'
    while not child.exists() or not child.read_text():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143
    steps = json.loads((tmp_path / 'report.json').read_text())['steps']
    assert [(name, step['status'], step['figures']) for name, step in steps.items()] == [
        ('works', 'done', {'ms': 3}),
        ('hangs', 'interrupted', {'ms': 3}),
    ]
    assert not is_alive(child.read_text())


def test_wrong_arguments(gpu_check, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_check.torch.cuda, 'is_available', lambda: False)
    for options, message in (
        ([], '--device: got cuda, which this torch does not find; allowed here: cpu'),
        (['--device', 'cpu', '--steps', 'speed'], '--steps: got speed, allowed: tests, throughput, latency'),
        (['--device', 'cpu', '--data', str(tmp_path)], 'allowed: a folder with the folders train and val'),
    ):
        with pytest.raises(SystemExit) as ended:
            gpu_check.main([*options, '--out', str(tmp_path / 'out')])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_the_steps_of_a_gpu_have_figures_of_every_network(gpu_check, tmp_path):
    args = gpu_check.Namespace(device='cuda', data=None, out=tmp_path)
    steps = {step.name: step for step in gpu_check.list_steps(args)}
    assert list(steps)[:3] == ['tests', 'throughput', 'latency']
    assert all(
        step.needs is None or step.needs in list(steps)[: list(steps).index(step.name)] for step in steps.values()
    )
    for name in ('GLNet-stl', 'GLNet-4g', 'GLiT-tiny', 'AutoViT-xxs', 'convnext_tiny', 'maxvit_tiny_tf_224'):
        assert name in steps['throughput'].command
        for kind in ('throughput', 'latency'):
            assert steps[f'{kind}-compiled-{name}'].compiles


@pytest.mark.slow
def test_the_small_form_runs_to_its_end(tmp_path):
    """Every step is done, or skipped for want of a C compiler."""
    command = [sys.executable, BENCHMARKS / 'gpu_check.py', '--device', 'cpu', '--slower', '10', '--out', tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    steps = json.loads((tmp_path / 'report.json').read_text())['steps']
    assert done.returncode == 0, done.stdout[-4000:]
    assert {step['status'] for step in steps.values() if 'compile' not in step['reason']} == {'done'}
    assert steps['throughput']['figures']['AutoViT-xxs.channels_last.images_per_s'] > 0
    assert steps['memory']['figures']['AutoViT-xxs.96.train_ms'] > 0
    assert steps['latency-report']['figures']
