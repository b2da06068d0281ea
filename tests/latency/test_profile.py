"""The design and the fit find known latencies again; measuring survives interruptions."""

import json
import random
import time
from dataclasses import replace

import pytest
import torch

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency import design, timing
from mmhybrid.latency import profile as profiler
from mmhybrid.latency.backends import BACKENDS, Backend
from mmhybrid.latency.design import choose_networks
from mmhybrid.latency.devices import Device
from mmhybrid.latency.profile import profile
from mmhybrid.latency.rounds import NUM_TIES
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan
from mmhybrid.space import AutoViTSpace, GLiTSpace

AUTOVIT = {'type': 'mmhybrid.AutoViT'}
DEVICE = Device.here('cpu', 'eager', 'float32', 1, 1)
TINY = GLiTSpace(embed_dims=24, num_blocks=2, level='attention')
TINY_BACKBONE = {'type': 'mmhybrid.GLiT', 'img_size': 32, 'patch_size': 16}


class Sleeper(Backend):
    """Every network takes 1 ms; running breaks off at the limit."""

    built = 0
    runs = 0
    limit = 10**9

    def build(self, network, images):
        Sleeper.built += 1
        return self.run

    def run(self):
        Sleeper.runs += 1
        if Sleeper.runs == Sleeper.limit:
            raise KeyboardInterrupt
        time.sleep(1e-3)


@pytest.fixture
def sleeping(monkeypatch):
    monkeypatch.setitem(BACKENDS, 'sleep', Sleeper)
    monkeypatch.setattr(timing, 'MAX_PARAMS_IN_MEMORY', 40_000)
    monkeypatch.setattr(design, 'POOL_SIZE', 30)
    Sleeper.built = Sleeper.runs = 0
    Sleeper.limit = 10**9
    return replace(DEVICE, backend='sleep')


@pytest.fixture
def tiny():
    return Workload(TINY, TINY_BACKBONE, 32, 5)


def test_profile_writes_a_table(tiny, sleeping, tmp_path):
    path = tmp_path / 'table.json'
    table = profile(tiny, sleeping, Plan(networks=5, repeats=3, warmup=1), path)
    assert LatencyTable.load(path) == table
    assert [file.name for file in tmp_path.iterdir()] == ['table.json']
    assert len(table.measurements) == 5
    assert all(measurement.ms > 1 for measurement in table.measurements)
    table.check_fits(tiny)
    assert table.entries[f'network side={32}'].repeats >= 5


def groups_of(workload, archs):
    return [group.archs for group in timing.plan_rounds(workload, archs).groups]


def test_groups_share_the_first_networks(tiny, sleeping, monkeypatch):
    archs = choose_networks(tiny, 32, Plan(networks=9))
    sizes = [sum(part.copies * tiny.cost_of(part).params for part in tiny.parts(arch)) for arch in archs]
    monkeypatch.setattr(timing, 'MAX_PARAMS_IN_MEMORY', sum(sizes) - 1)
    groups = groups_of(tiny, archs)
    assert len(groups) == 2
    assert all(group[:NUM_TIES] == archs[:NUM_TIES] for group in groups)
    assert [*archs[:NUM_TIES], *(arch for group in groups for arch in group[NUM_TIES:])] == archs
    sizes_of_groups = [sum(sizes[archs.index(arch)] for arch in group) for group in groups]
    assert max(sizes_of_groups) < sum(sizes)
    monkeypatch.setattr(timing, 'MAX_PARAMS_IN_MEMORY', 1)
    assert [len(group) for group in groups_of(tiny, archs)] == [NUM_TIES + 1] * (len(archs) - NUM_TIES)
    assert groups_of(tiny, archs[:2]) == [archs[:2]]


def test_too_few_networks_are_told(tiny):
    with pytest.warns(UserWarning, match='parts are in none of 2 networks of 32 px'):
        choose_networks(tiny, 32, Plan(networks=2))


def test_several_resolutions_in_one_table(sleeping, tmp_path):
    space = AutoViTSpace('xxs', restrict={'resolution': [64 * 3, 64 * 4], 'num_stages': 3})
    costs = Workload(space, {'type': 'mmhybrid.AutoViT'}, None, 5)
    with pytest.warns(UserWarning, match='in none of 3 networks'):
        table = profile(costs, sleeping, Plan(networks=3, repeats=2, warmup=0), tmp_path / 'table.json')
    assert table.resolutions == (192, 256)
    assert [costs.size(m.arch) for m in table.measurements] == [192, 256] * 3
    assert {'network side=192', 'network side=256'} <= set(table.entries)


def test_networks_of_each_resolution_are_measured_twice(sleeping, tmp_path, monkeypatch):
    """Resolutions take turns among the networks, and those measured again must not all be of one."""
    space = AutoViTSpace('xxs', restrict={'resolution': [64 * 3, 64 * 4], 'num_stages': 3})
    costs = Workload(space, {'type': 'mmhybrid.AutoViT'}, None, 5)
    passes = []

    def run(rounds, workload, backend, batch, plan, *_):
        (group,) = rounds.groups
        passes.append([workload.size(arch) for arch in group.archs])
        group.rounds = [[10.0] * len(group.archs)] * plan.repeats

    monkeypatch.setattr(profiler, 'run_rounds', run)
    monkeypatch.setattr(timing, 'MAX_PARAMS_IN_MEMORY', 10**9)
    monkeypatch.setattr(design, 'POOL_SIZE', 200)
    profile(costs, sleeping, Plan(networks=36, repeats=2), tmp_path / 'table.json')
    assert [len(sides) for sides in passes] == [72, profiler.NUM_AGAIN]
    assert {side: passes[1].count(side) >= 3 for side in (192, 256)} == {192: True, 256: True}


def test_interrupted_profile_continues(tiny, sleeping, tmp_path):
    path, plan = tmp_path / 'table.json', Plan(networks=6, repeats=3, warmup=1)  # fewer than are measured twice
    first = len(groups_of(tiny, choose_networks(tiny, 32, plan))[0])
    Sleeper.limit = 3 * first * 3 + 1  # three runs each: the warm-up, two rounds, and no third
    with pytest.raises(KeyboardInterrupt):
        profile(tiny, sleeping, plan, path)
    timed = json.loads((tmp_path / 'table.json.partial').read_text())['timed']
    assert [len(rounds) for rounds in timed if rounds] == [2]
    with pytest.raises(ValueError, match=r'remove it to begin anew: plan\.repeats was 3, now 4'):
        profile(tiny, sleeping, replace(plan, repeats=4), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design, 'POOL_SIZE', 3)  # as another version might
        with pytest.raises(ValueError, match=r'begin anew: archs'):
            profile(tiny, sleeping, plan, path)
    archs = choose_networks(tiny, 32, plan)
    once = [len(group) for group in groups_of(tiny, archs)]
    again = [len(group) for group in groups_of(tiny, random.Random(plan.seed).sample(archs, len(archs)))]
    # a warm-up each, then the rounds that were left; of the second measuring, a warm-up, two rounds, and no third
    left = 3 * (2 * once[0] + 4 * sum(once[1:]))
    Sleeper.runs, Sleeper.limit = 0, left + 3 * 3 * again[0] + 1
    with pytest.raises(KeyboardInterrupt):
        profile(tiny, sleeping, plan, path)
    rounds = json.loads((tmp_path / 'table.json.partial').read_text())
    assert [len(group) for group in rounds['timed']] == [3] * len(once)
    assert [len(group) for group in rounds['again'] if group] == [2]
    Sleeper.runs, Sleeper.limit = 0, 10**9
    profile(tiny, sleeping, plan, path)
    assert Sleeper.runs == 3 * (2 * again[0] + 4 * sum(again[1:]))
    assert not (tmp_path / 'table.json.partial').exists()


@pytest.mark.parametrize('name', ['timed', 'again'])
@pytest.mark.parametrize(
    ('rounds', 'word'),
    [
        (None, ': got None'),
        ([[], [], []], ': got .3 groups'),
        ([5], r'\[0\]: got 5'),
        ([[[1.0, 1.0]] * 4], r'\[0\]: got .4 rounds'),
        ([[[1.0]]], r'\[0\]\[0\]: got \[1.0\], allowed: a list of 2'),
        ([[[1.0, 'x']]], r"\[0\]\[0\]: got 'x'"),
        ([[[1.0, 0]]], r'\[0\]\[0\]: got 0'),
    ],
)
def test_malformed_partial(tiny, sleeping, tmp_path, monkeypatch, name, rounds, word):
    monkeypatch.setattr(timing, 'MAX_PARAMS_IN_MEMORY', 10**9)
    plan, partial = Plan(networks=2, repeats=3, warmup=0), tmp_path / 'table.json.partial'
    Sleeper.limit = 3 * 2 + 1  # in the second round of both networks
    with pytest.raises(KeyboardInterrupt):
        profile(tiny, sleeping, plan, tmp_path / 'table.json')
    begun = json.loads(partial.read_text())
    partial.write_text(json.dumps({**begun, 'timed': [], 'again': [], name: rounds}))
    with pytest.raises(ValueError, match=name + word) as error:
        profile(tiny, sleeping, plan, tmp_path / 'table.json')
    assert str(partial) in str(error.value)


def test_nothing_is_measured_for_a_missing_folder(tiny, sleeping, tmp_path):
    for out, word in ((tmp_path / 'none' / 'table.json', 'does not exist'), (tmp_path, 'a folder')):
        with pytest.raises(ValueError, match=word):
            profile(tiny, sleeping, Plan(networks=2, repeats=2), out)
    assert Sleeper.built == 0


def test_networks_are_built_alike_and_leave_the_global_generator_alone(tiny):
    state = torch.get_rng_state()
    first, second = (tiny.build_network(TINY.largest()).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_leave_the_global_generator_alone(tiny, sleeping, monkeypatch):
    archs, state = [TINY.smallest(), TINY.largest()], torch.get_rng_state()
    seen = []
    monkeypatch.setattr(tiny, 'build_network', lambda arch: None)
    monkeypatch.setattr(Sleeper, 'build', lambda self, network, images: seen.append(images) or self.run)
    for _ in range(2):
        timing.measure(tiny, archs, Sleeper('cpu', 'float32', 1), 2, Plan(repeats=2, warmup=0))
    assert torch.equal(torch.stack(seen[:2]), torch.stack(seen[2:]))
    assert torch.equal(torch.get_rng_state(), state)


def test_eager_backend_runs_the_network(tiny, tmp_path):
    table = profile(tiny, DEVICE, Plan(networks=2, repeats=2, warmup=0), tmp_path / 'table.json')
    cost = Estimator(tiny, table)(TINY.largest())
    assert 0 < cost.latency_ms < cost.latency_upper_ms


@pytest.mark.parametrize(('field', 'value'), [('networks', 1), ('repeats', 1), ('warmup', -1)])
def test_wrong_plans(field, value):
    with pytest.raises(ValueError, match=field):
        Plan(**{field: value})
