"""Exported networks are exported once, whatever ends a profile, and only whole ones of the same origin are taken."""

import hashlib
import hmac
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exported_toy import TINY, Toy, exported, milliseconds_of
from fresh_python import run_python

from mmhybrid.counting.workload import Workload
from mmhybrid.latency import design, kept, timing
from mmhybrid.latency.backends import BACKENDS, OnnxRuntimeBackend
from mmhybrid.latency.devices import Device
from mmhybrid.latency.kept import KeptNetworks
from mmhybrid.latency.profile import profile
from mmhybrid.latency.timing import Plan
from mmhybrid.torch_api import EXPORTING

PLAN = Plan(networks=7, repeats=2, warmup=1)
ARCHS = [TINY.space.smallest(), TINY.space.largest()]
# Ends itself as a machine does that loses its power: at the start of an export, in the middle of a write, in a round.
KILLED = """
import os, signal, sys
from dataclasses import replace
from exported_toy import TINY, Toy
from mmhybrid.latency import design, timing
from mmhybrid.latency.backends import BACKENDS
from mmhybrid.latency.devices import Device
from mmhybrid.latency.profile import profile
from mmhybrid.latency.timing import Plan

def ending_after(calls, function):
    def call(*arguments, **named):
        nonlocal calls
        calls -= 1
        if calls < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

BACKENDS['toy'] = Toy
design.POOL_SIZE = 30
timing.MAX_PARAMS_IN_MEMORY = 40_000
where, calls = sys.argv[1], int(sys.argv[2])
if where == 'export':
    Toy.export = ending_after(calls, Toy.export)
elif where == 'write':
    os.fsync = ending_after(calls, os.fsync)
elif where == 'round':
    Toy.time_round = ending_after(calls, Toy.time_round)
device = replace(Device.here('cpu', 'eager', 'float32', 1, 1), backend='toy')
profile(TINY, device, Plan(networks=7, repeats=2, warmup=1), 'table.json')
"""


@pytest.fixture
def toy(monkeypatch, tmp_path):
    monkeypatch.setitem(BACKENDS, 'toy', Toy)
    monkeypatch.setattr(design, 'POOL_SIZE', 30)
    monkeypatch.setattr(timing, 'MAX_PARAMS_IN_MEMORY', 40_000)
    monkeypatch.chdir(tmp_path)
    return replace(Device.here('cpu', 'eager', 'float32', 1, 1), backend='toy')


@pytest.fixture
def networks(toy):
    return KeptNetworks('networks', TINY, Toy, 'float32', 1)


def flat(entries):
    """The figures of all parts."""
    return {f'{key}.{name}': value for key, entry in entries.items() for name, value in entry.items()}


def run_killed(where, calls):
    folders = [Path(__file__).parent]
    done = run_python(KILLED, where, calls, imported='torch mmengine.runner', folders=folders)
    assert done.returncode in (0, -9), done.stderr
    return done


@pytest.mark.parametrize(
    ('where', 'calls', 'twice'),
    [('export', 4, 0), ('write', 4, 1), ('round', 3, 0)],
)
def test_a_killed_profile_exports_no_network_twice(toy, tmp_path, where, calls, twice):
    """But the one that it was writing."""
    undisturbed = profile(TINY, toy, PLAN, tmp_path / 'undisturbed.json')
    once = exported()
    assert len(set(once)) == len(once) == 7
    Toy.log.unlink()
    assert run_killed(where, calls).returncode == -9
    begun = exported()
    assert len(begun) == min(7, calls + twice if where != 'round' else 7)
    assert run_killed('nowhere', 0).returncode == 0
    assert sorted(set(exported())) == sorted(once)
    assert len(exported()) == len(once) + twice
    table, expected = (json.loads(Path(f'{name}.json').read_text()) for name in ('table', 'undisturbed'))
    assert table['measurements'] == expected['measurements']
    fitted = {**expected, 'entries': pytest.approx(flat(expected['entries']))}  # another process may round otherwise
    fitted |= {name: pytest.approx(value) for name, value in expected.items() if isinstance(value, float)}
    assert {**table, 'entries': flat(table['entries'])} == fitted
    assert [network.ms for network in undisturbed.measurements] == [
        pytest.approx(milliseconds_of(TINY.params(network.arch))) for network in undisturbed.measurements
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['exports.txt', 'table.json', 'undisturbed.json']


def test_networks_are_those_that_are_built(networks):
    """Of a backend that exports as it builds."""
    for arch in ARCHS:
        images = torch.zeros(1, 3, 32, 32)
        assert networks.content(arch) == Toy.export(TINY.build_network(arch), images, torch.float32)
    assert not networks.missing(ARCHS)
    assert len(list(networks.folder.iterdir())) == 2


def test_what_others_have_put_there_is_exported_again(networks):
    """Signed by a key that is not the user's, and named as one would without a key."""
    right = [networks.export(arch) for arch in ARCHS]
    for path in networks.folder.iterdir():
        content, origin = path.read_bytes() + b' ', path.name.split('.')[0]
        path.unlink()
        for key in (b'', bytes(32)):
            signature = hmac.new(key, origin.encode() + content, hashlib.sha256).hexdigest()[: kept.DIGITS]
            (networks.folder / f'{origin}.{signature}').write_bytes(content)
        digest = hashlib.sha256(origin.encode() + content).hexdigest()[: kept.DIGITS]
        (networks.folder / f'{origin}.{digest}').write_bytes(content)
    assert networks.missing(ARCHS) == ARCHS
    assert [networks.content(arch) for arch in ARCHS] == right


def test_damaged_ones_are_exported_again(networks):
    right = [networks.export(arch) for arch in ARCHS]
    first, second = sorted(networks.folder.iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    second.write_bytes(b'')
    assert networks.missing(ARCHS) == ARCHS
    assert [networks.content(arch) for arch in ARCHS] == right
    assert sorted(networks.folder.iterdir()) == [first, second]
    assert len(exported()) == 4


def test_those_of_others_are_not_taken(networks, monkeypatch):
    """Of another size of images, batch, dtype, number of classes, part of the space, backend or version."""
    networks.export(ARCHS[0])
    space, backbone = TINY.space, TINY.backbone

    class Other(Toy):
        """Another backend."""

    def missing(workload=TINY, backend=Toy, dtype='float32', batch=1):
        return KeptNetworks('networks', workload, backend, dtype, batch).missing(ARCHS[:1])

    assert not missing()
    assert missing(Workload(space, backbone, 48, 5))
    assert missing(Workload(space, backbone, 32, 6))
    assert missing(Workload(space, {**backbone, 'patch_size': 8}, 32, 5))
    assert missing(backend=Other)
    assert missing(dtype='float16')
    assert missing(batch=2)
    monkeypatch.setattr(kept, 'versions_of', lambda packages: {'torch': '99'})
    assert missing()


def test_a_file_under_the_name_of_another_is_not_taken(networks):
    contents = [networks.export(arch) for arch in ARCHS]
    files = {path: path.read_bytes() for path in networks.folder.iterdir()}
    (first, one), (second, other) = files.items()
    for path in files:
        path.unlink()
    first.with_name(f'{first.name.split(".")[0]}.{second.name.partition(".")[2]}').write_bytes(other)
    second.with_name(f'{second.name.split(".")[0]}.{first.name.partition(".")[2]}').write_bytes(one)
    assert networks.missing(ARCHS) == ARCHS
    assert [networks.content(arch) for arch in ARCHS] == contents


def test_nothing_else_is_removed(networks, tmp_path):
    networks.export(ARCHS[0])
    (tmp_path / 'networks/notes.txt').write_text('mine')
    networks.remove()
    assert [path.name for path in networks.folder.iterdir()] == ['notes.txt']


def test_no_folder_of_others_is_written_into(toy, tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    for make in (lambda path: path.symlink_to(tmp_path / 'elsewhere'), lambda path: path.write_text('')):
        place = tmp_path / 'table.json.networks'
        make(place)
        with pytest.raises(ValueError, match=r'table\.json\.networks: allowed: a folder'):
            profile(TINY, toy, PLAN, tmp_path / 'table.json')
        place.unlink()
    assert not list((tmp_path / 'elsewhere').iterdir())


def test_nothing_is_kept_beside_a_device(toy):
    profile(TINY, toy, PLAN, '/dev/null')
    assert not Path('/dev/null.networks').exists()
    assert exported()


def test_a_plug_in_that_builds_by_itself_is_let_do_so(toy, monkeypatch, tmp_path):
    monkeypatch.setattr(Toy, 'load', None)
    own = type('Own', (Toy,), {'build': lambda self, network, images: 7.0})
    monkeypatch.setitem(BACKENDS, 'own', own)
    table = profile(TINY, replace(toy, backend='own'), PLAN, tmp_path / 'table.json')
    assert {network.ms for network in table.measurements} == {7.0}


@pytest.mark.torch_since(*EXPORTING)
def test_real_files_run_as_the_networks_they_are(tmp_path):
    """On ONNX Runtime, in both of its dtypes."""
    pytest.importorskip('onnxruntime')
    for dtype, tolerance in (('float32', 1e-4), ('float16', 2e-2)):
        networks = KeptNetworks(tmp_path / dtype, TINY, OnnxRuntimeBackend, dtype, 2)
        networks.export(ARCHS[1])
        (path,) = networks.folder.iterdir()
        assert re.fullmatch(r'[0-9a-f]{32}\.[0-9a-f]{32}\.onnx', path.name)
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        backend = OnnxRuntimeBackend('cpu', dtype, 1)
        (found,) = backend.load(networks.content(ARCHS[1]), images)().copy_outputs_to_cpu()
        with torch.no_grad():
            expected = TINY.build_network(ARCHS[1])(images)
        torch.testing.assert_close(torch.from_numpy(found).float(), expected, rtol=tolerance, atol=tolerance)
