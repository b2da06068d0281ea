"""Networks are timed on another machine as on this one, and nothing that comes back is believed."""

import ast
import copy
import fcntl
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace

import pytest
from exported_toy import TINY, Toy, exported, far, milliseconds_of
from far_device import make_device, run_there

from mmhybrid.counting.workload import Workload
from mmhybrid.latency import bundle, design, on_device, timing
from mmhybrid.latency.backends import BACKENDS, OnnxRuntimeBackend
from mmhybrid.latency.bundle import read_timings, script, write_bundle
from mmhybrid.latency.devices import Device
from mmhybrid.latency.profile import profile
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan
from mmhybrid.torch_api import EXPORTING

CPU = {'backend': 'onnxruntime', 'device': 'cpu', 'dtype': 'float32', 'threads': 1, 'clock': 'wall', 'versions': {}}
PLAN = Plan(networks=7, repeats=3, warmup=1, held_out=2, held_params=40_000)
pytestmark = pytest.mark.torch_since(*EXPORTING)


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """Networks as small files, which the device's own runtime runs."""
    monkeypatch.setattr(design, 'POOL_SIZE', 30)
    monkeypatch.setattr(OnnxRuntimeBackend, 'export', Toy.export)
    monkeypatch.setitem(BACKENDS, 'toy', Toy)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def there(toys, tmp_path):
    """The bundle, copied to a device, and its environment."""
    write_bundle(TINY, far(), PLAN, tmp_path / 'bundle')
    shutil.copytree(tmp_path / 'bundle', tmp_path / 'copied')
    return tmp_path / 'copied', make_device(tmp_path / 'device')


def test_a_device_at_half_speed_has_the_table_of_this_one_times_two(there, tmp_path):
    """Networks, groups, ties, rounds, repetitions: all is as here, and so is the order of every single run."""
    copied, device = there
    done = run_there(copied, device, SPEED=0.5, RUNS=tmp_path / 'there.txt')
    assert done.returncode == 0, done.stderr
    table = read_timings(TINY, copied / 'timings.json')
    here = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Toy, 'load', lambda self, content, images: json.loads(content))
        patch.setattr(Toy, 'times', lambda self, job, runs: [here.append(job) or milliseconds_of(job['params'])] * runs)
        local = profile(TINY, replace(far(), backend='toy', name='here'), PLAN, tmp_path / 'table.json')
    assert [m.arch for m in table.measurements] == [m.arch for m in local.measurements]
    assert [m.ms for m in table.measurements] == pytest.approx([2 * m.ms for m in local.measurements])
    assert [m.repeats for m in table.measurements] == [m.repeats for m in local.measurements]
    assert len(table.held_out) == len(local.held_out) == 2
    assert [m.arch for m in table.held_out] == [m.arch for m in local.held_out]
    assert [m.ms for m in table.held_out] == pytest.approx([2 * m.ms for m in local.held_out])
    assert not [m for m in table.held_out if m.arch in [known.arch for known in table.measurements]]
    assert table.uncertainty.speed_spread == pytest.approx(0, abs=1e-9)
    runs = (tmp_path / 'there.txt').read_text().splitlines()
    assert runs == [f'{job["params"]} {job["sums"][0]}' for job in here for _ in range(3)]
    assert len(timing.plan_rounds(TINY, [], PLAN.held_params).groups) == 1
    assert len(json.loads((copied / 'timings.json').read_text())['timed']) > 1  # the ties tie something
    assert table.device.name != ''
    assert table.device.versions['torch'] == far().versions['torch']
    assert 'onnxruntime' in table.device.versions
    table.save('far.json')
    assert LatencyTable.load('far.json') == table


def test_no_network_is_exported_twice(toys, tmp_path, monkeypatch):
    """Of a bundle that was interrupted, or is written once more; networks of another are removed."""
    export, calls = Toy.export, []

    def ending(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return export(*arguments)

    monkeypatch.setattr(OnnxRuntimeBackend, 'export', ending)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(TINY, far(), PLAN, tmp_path / 'bundle')
    assert not (tmp_path / 'bundle/manifest.json').exists()
    for _ in range(2):
        write_bundle(TINY, far(), PLAN, tmp_path / 'bundle')
    assert len(exported()) == len(set(exported())) == PLAN.networks + PLAN.held_out
    write_bundle(TINY, far(), replace(PLAN, networks=4), tmp_path / 'bundle')
    assert len(exported()) == PLAN.networks + PLAN.held_out
    assert len(list((tmp_path / 'bundle/networks').iterdir())) == 4 + PLAN.held_out


def test_a_killed_measuring_goes_on(there, tmp_path):
    copied, device = there
    undisturbed = tmp_path / 'undisturbed.json'
    assert run_there(copied, device, '--out', str(undisturbed)).returncode == 0
    for killed in (100, 61, 40):
        done = run_there(copied, device, KILLED=killed, RUNS=tmp_path / 'runs.txt')
        assert done.returncode == -9
        with pytest.raises(ValueError, match=r'timings\.json: (timed|again): \d+ of \d+ rounds; measure\.py goes on'):
            read_timings(TINY, copied / 'timings.json')
    assert run_there(copied, device, RUNS=tmp_path / 'runs.txt').returncode == 0
    runs_of_all = len((tmp_path / 'runs.txt').read_text().splitlines())
    passes = json.loads((copied / 'manifest.json').read_text())['passes']
    groups = [len(group) for groups in passes.values() for group in groups]
    once = 3 * sum(groups) * (PLAN.warmup + PLAN.repeats)
    most = 3 * max(groups)
    assert once < runs_of_all <= once + 3 * 2 * most  # a warm-up and a round lost by each kill
    found, expected = (json.loads(path.read_text()) for path in (copied / 'timings.json', undisturbed))
    assert found['setting'] == expected['setting']
    for name in ('timed', 'again'):
        for group, same in zip(found[name], expected[name], strict=True):
            for row, other in zip(group, same, strict=True):
                assert row == pytest.approx(other)
    again = run_there(copied, device, RUNS=tmp_path / 'more.txt')
    assert 'complete' in again.stdout
    assert not (tmp_path / 'more.txt').exists()
    assert not list(copied.glob('.*'))


def test_throttling_is_told_and_drops_out(there):
    copied, device = there
    first = len(json.loads((copied / 'manifest.json').read_text())['passes']['timed'][0])
    done = run_there(copied, device, THROTTLED=3 * first * 3)  # after the warm-up and two rounds
    assert done.returncode == 0
    assert 'round 2 of 3, at 100 % of' in done.stdout
    assert 'round 3 of 3, at 60 % of' in done.stdout
    with pytest.warns(UserWarning, match=r'speed went from 1\.00 to 0\.60 .*round by round: 1\.00 1\.00 0\.60 0\.60 '):
        table = read_timings(TINY, copied / 'timings.json')
    expected = [milliseconds_of(TINY.params(m.arch)) for m in table.measurements]
    assert [m.ms for m in table.measurements] == pytest.approx(expected)
    throttled = done.stdout.count(' at 60 % of') + done.stdout.count(' at 100 % of') - 2
    expected_spread = statistics.stdev([0.0] * 2 + [math.log(1 / 0.6)] * throttled)
    assert table.uncertainty.speed_spread == pytest.approx(expected_spread)


def test_mistakes_on_the_device_end_in_a_sentence(there, tmp_path):
    copied, device = there
    assert run_there(copied, device, '--missing').stdout.strip() == ''
    for pause in ('-1', 'nan', 'inf', '1e6'):
        done = run_there(copied, device, '--pause', pause)
        assert done.returncode == 2
        assert done.stderr.endswith('allowed: seconds from 0 to 86400\n')
    done = run_there(copied, device, '--out', 'none/timings.json')
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        'measure.py: error: --out: got none/timings.json, whose folder does not exist',
    )
    assert not (copied / 'timings.json').exists()
    name = json.loads((copied / 'manifest.json').read_text())['networks'][2]['file']
    content = (copied / name).read_bytes()
    for change in (lambda: (copied / name).write_bytes(content[:-1]), (copied / name).unlink):
        change()
        done = run_there(copied, device)
        assert done.returncode == 2
        assert done.stderr == f'{name}: missing, or not whole; copy the bundle again\n'
        assert run_there(copied, device, '--missing').stdout.strip() == name
    (copied / name).write_bytes(content)
    (tmp_path / 'device/onnxruntime.py').rename(tmp_path / 'device/elsewhere.py')
    (tmp_path / 'device/onnxruntime.py').write_text('raise ImportError("no onnxruntime here")')
    done = run_there(copied, device)
    assert (done.returncode, done.stderr) == (2, 'no onnxruntime here; pip install onnxruntime\n')
    (tmp_path / 'device/elsewhere.py').rename(tmp_path / 'device/onnxruntime.py')
    with (copied / 'manifest.json').open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run_there(copied, device)
    assert done.returncode == 2
    assert 'another process measures here' in done.stderr
    (copied / 'timings.json').write_text('{')
    assert 'remove what was begun' in run_there(copied, device).stderr
    (copied / 'timings.json').write_text(json.dumps({'setting': {}, 'timed': [], 'again': []}))
    assert 'begun with other networks or versions' in run_there(copied, device).stderr


def test_the_program_stands_alone(tmp_path):
    """Any Python from 3.8 on reads it, and its imports are of the standard library."""
    tree = ast.parse(script(), feature_version=(3, 8))
    imported = {
        name.partition('.')[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= {*sys.stdlib_module_names}
    (tmp_path / 'measure.py').write_text(script())
    done = subprocess.run([sys.executable, '-I', '-S', 'measure.py', '--help'], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0


@pytest.mark.parametrize('words', [['measure.py'], ['-m', 'measure'], ['../bundle/measure.py']])
def test_the_program_imports_nothing_from_beside_itself(tmp_path, words):
    """A bundle's folder may have been there before, with files of others in it."""
    folder = tmp_path / 'bundle'
    folder.mkdir()
    (folder / 'measure.py').write_text(script())
    for name in ('argparse', 'json', 'numpy', 'onnxruntime'):
        (folder / f'{name}.py').write_text(f'open({f"{tmp_path}/trace"!r}, "a").write({name!r})')
    (folder / 'manifest.json').write_text(json.dumps({'setting': {'plan': {}, 'device': CPU}, 'networks': []}))
    told = {'PYTHONPATH': str(make_device(tmp_path / 'device')['PYTHONPATH'])}
    done = subprocess.run([sys.executable, *words], cwd=folder, env={**os.environ, **told}, capture_output=True)
    assert b"KeyError: 'passes'" in done.stderr  # behind the import of the runtime
    assert not (tmp_path / 'trace').exists()


def test_timings_are_written_through_no_link(tmp_path):
    kept = object.__new__(on_device.Bundle)
    kept.out, kept.timings = tmp_path / 'bundle/timings.json', {'timed': []}
    kept.out.parent.mkdir()
    for name in ('.timings.json.part', 'timings.json'):
        (kept.out.parent / name).symlink_to(tmp_path / 'outside')
    for _ in range(2):
        kept.keep()
    assert not (tmp_path / 'outside').exists()
    assert json.loads(kept.out.read_text()) == {'timed': []}
    assert [path.name for path in kept.out.parent.iterdir()] == ['timings.json']


@pytest.fixture
def timings(there):
    copied, device = there
    assert run_there(copied, device).returncode == 0
    return copied / 'timings.json'


def changed(raw, path, value):
    """A copy with another value at a place, or without what is there."""
    raw = copy.deepcopy(raw)
    at = raw
    for name in path[:-1]:
        at = at[name]
    if value is DELETED:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return raw


DELETED = object()
WRONG = [
    (('timed',), DELETED, 'timings.json: missing timed'),
    (('more',), 1, 'timings.json: surplus more'),
    (('setting',), 5, 'timings.json: setting: got 5'),
    (('setting', 'plan'), DELETED, 'timings.json: setting: missing plan'),
    (('setting', 'plan', 'repeats'), '3', "timings.json: setting.plan.repeats: got '3'"),
    (('setting', 'plan', 'networks'), 1, 'timings.json: setting.plan.networks: got 1'),
    (('setting', 'plan', 'networks'), 6, 'timings.json: measured with another config.*setting.archs was a list of 9'),
    *(
        (('setting', 'plan', name), 10**9, f'timings.json: setting.plan.{name}: got 1000000000, allowed: an int from')
        for name in ('networks', 'repeats', 'warmup', 'held_out')
    ),
    (('setting', 'plan', 'held_params'), 10**99, 'timings.json: setting.plan.held_params: got 1000'),
    (('setting', 'plan', 'held_out'), 9999, 'setting.archs was a list of 9, now of more than 9999 by plan.held_out'),
    (('setting', 'plan', 'seed'), 10**99, 'timings.json: setting.plan.seed: got 1000'),
    (('setting', 'plan', 'held_params'), 0, 'timings.json: setting.plan.held_params: got 0'),
    (('setting', 'plan', 'more'), 0, 'timings.json: setting.plan: surplus more'),
    (('setting', 'device', 'name'), 'a\x1b[2J', 'timings.json: setting.device.name: got'),
    (('setting', 'device', 'backend'), '', 'timings.json: setting.device.backend: got'),
    (('setting', 'device', 'batch'), 10**30, 'timings.json: setting.device.batch: got 1000'),
    (('setting', 'device', 'versions', 'torch'), 5, 'timings.json: setting.device.versions: got'),
    (('setting', 'device', 'clock'), 'mine', 'timings.json: setting.device.clock: got'),
    (('setting', 'space', 'type'), 'os.system', 'setting.space.type was .os.system., now'),
    (('setting', 'num_classes'), 6, 'timings.json: measured with another config.*: setting.num_classes was 6'),
    (('setting', 'format'), 99, 'setting.format was 99'),
    (('setting', 'archs', 0), {}, r'setting.archs\[0\]'),
    (('setting', 'archs'), [], r'setting.archs was \[\]'),
    (('timed',), 5, 'timings.json: timed: got 5'),
    (('timed', 0), {}, r'timings.json: timed\[0\]: got {}'),
    (('timed', 0, 0), [1.0], r'timings.json: timed\[0\]\[0\]: got \[1.0\]'),
    (('timed', 0, 0, 0), 0, r'timings.json: timed\[0\]\[0\]: got 0'),
    (('timed', 0, 0, 0), 1e300, r'timings.json: timed\[0\]\[0\]: got 1e\+300'),
    (('timed', 0, 0, 0), 1e-300, r'timings.json: timed\[0\]\[0\]: got 1e-300'),
    (('timed', 0, 0, 0), float('nan'), r'timings.json: timed\[0\]\[0\]: got nan'),
    (('timed', 0, 0, 0), True, r'timings.json: timed\[0\]\[0\]: got True'),
    (('timed', 0, 0), DELETED, r'timings.json: timed: \d+ of \d+ rounds'),
    (('timed', 0), [], r'timings.json: timed: \d+ of \d+ rounds'),
    (('again', 0, 0, 0), 'x', r"timings.json: again\[0\]\[0\]: got 'x'"),
    (('again',), [], r'timings.json: again: 0 of \d+ rounds'),
]


def test_nothing_is_believed(timings, monkeypatch):
    """Each field of the file, and the file as a whole."""
    raw = json.loads(timings.read_text())
    for path, value, word in WRONG:
        timings.write_text(json.dumps(changed(raw, path, value)))
        with pytest.raises(ValueError, match=word) as error:
            read_timings(TINY, timings)
        assert 'timings.json: ' in str(error.value), path
    for text, word in (('{', 'not JSON'), ('[]', 'not a JSON object'), ('[' * 10**5, 'nested too deeply')):
        timings.write_text(text)
        with pytest.raises(ValueError, match=word):
            read_timings(TINY, timings)
    timings.write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=r'setting\.num_classes was 5, now 6'):
        read_timings(Workload(TINY.space, TINY.backbone, 32, 6), timings)
    monkeypatch.setattr(bundle, 'LARGEST', 100)
    with pytest.raises(ValueError, match='bytes, allowed: at most 100'):
        read_timings(TINY, timings)
    monkeypatch.setattr(bundle, 'LARGEST', 2**26)
    with pytest.raises(ValueError, match='does not exist'):
        read_timings(TINY, timings.with_name('none.json'))
    read_timings(TINY, timings)


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        (('cpu', 'eager', 'float32', 1, 1, 'wall'), "backend: got 'eager', allowed: what runs exported networks"),
        (('cpu', 'compile', 'float32', 1, 1, 'wall'), "backend: got 'compile'"),
        (('cpu', 'magic', 'float32', 1, 1, 'wall'), "backend: got 'magic'"),
        (('tpu', 'onnxruntime', 'float32', 1, 1, 'wall'), "device: got 'tpu'"),
        (('cuda', 'openvino', 'float32', 1, 1, 'wall'), "device: got 'cuda'"),
        (('cpu', 'onnxruntime', 'bfloat16', 1, 1, 'wall'), "dtype: got 'bfloat16'"),
        (('cpu', 'openvino', 'float16', 1, 1, 'wall'), "dtype: got 'float16'"),
        (('cpu', 'onnxruntime', 'float32', 0, 1, 'wall'), 'batch: got 0'),
        (('cpu', 'onnxruntime', 'float32', 1, 2, 'thread'), "clock: got 'thread'"),
    ],
)
def test_what_no_bundle_is_for(arguments, word):
    with pytest.raises(ValueError, match=word):
        Device.elsewhere(*arguments)


def test_a_bundle_is_written_into_no_other_folder(toys, tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'bundle').mkdir()
    (tmp_path / 'bundle/measure.py').symlink_to(tmp_path / 'file')
    write_bundle(TINY, far(), PLAN, tmp_path / 'bundle')
    assert (tmp_path / 'file').read_text() == 'mine'
    for place in (tmp_path / 'file', tmp_path / 'none/bundle'):
        with pytest.raises(ValueError, match=str(place)):
            write_bundle(TINY, far(), PLAN, place)
    (tmp_path / 'second').mkdir()
    (tmp_path / 'second/networks').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(ValueError, match='allowed: a folder, no link'):
        write_bundle(TINY, far(), PLAN, tmp_path / 'second')
    assert not list((tmp_path / 'elsewhere').iterdir())


@pytest.mark.parametrize(
    ('runtime', 'dtype', 'clock'),
    [
        ('onnxruntime', 'float32', 'thread'),
        pytest.param('onnxruntime', 'float16', 'wall', marks=pytest.mark.slow),
        pytest.param('onnxruntime', 'int8', 'wall', marks=pytest.mark.slow),
        pytest.param('openvino', 'int8', 'thread', marks=pytest.mark.slow),
        pytest.param('openvino', 'float32', 'thread', marks=pytest.mark.slow),
        pytest.param('executorch', 'float32', 'wall', marks=pytest.mark.slow),
    ],
)
def test_real_runtimes(runtime, dtype, clock, tmp_path, monkeypatch):
    """In a process without mmhybrid."""
    pytest.importorskip(runtime)
    monkeypatch.setattr(design, 'POOL_SIZE', 3)
    far = Device.elsewhere('cpu', runtime, dtype, 2, 1, clock)
    write_bundle(TINY, far, Plan(networks=2, repeats=2, warmup=0), tmp_path / 'bundle')
    environment = {**os.environ, 'TORCH_DEVICE_BACKEND_AUTOLOAD': '0'}  # of which mmhybrid is one
    done = subprocess.run(
        [sys.executable, '-I', 'measure.py'],
        cwd=tmp_path / 'bundle',
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    table = read_timings(TINY, tmp_path / 'bundle/timings.json')
    assert (table.device.dtype, table.device.batch, table.device.backend) == (dtype, 2, runtime)
    here = Device.here('cpu', runtime, dtype, 2, 1, clock)
    assert table.device.name == here.name
    assert not table.device.differences()
    smallest, largest = sorted(table.measurements, key=lambda m: TINY.params(m.arch))
    assert 0 < smallest.ms < largest.ms < 1000
