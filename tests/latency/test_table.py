"""Tables are sums of entries, survive a file, and say what is wrong with them."""

import json
import math
import random
import warnings
from dataclasses import replace

import pytest
import torch

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.operations import PartCost
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import MODEL_STD, NOMINAL, AnalyticLatency
from mmhybrid.latency.devices import Device
from mmhybrid.latency.filled import FilledTable
from mmhybrid.latency.rounds import Measurement
from mmhybrid.latency.table import Entry, LatencyTable, Uncertainty
from mmhybrid.models.parts import Part
from mmhybrid.space import AutoViTSpace, GLiTSpace, GLNetSpace

BACKBONE = {'type': 'mmhybrid.GLiT', 'img_size': 64}
SPACE = GLiTSpace(embed_dims=48, num_blocks=2, level='attention')


@pytest.fixture(scope='module')
def costs():
    return Workload(SPACE, BACKBONE, 64, None)


@pytest.fixture
def table(costs):
    keys = {part.key for arch in (SPACE.smallest(), SPACE.largest()) for part in costs.parts(arch)}
    entries = {key: Entry(2.0, 0.5, 10) for key in keys}
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    measured = Measurement(dict(SPACE.largest()), 12.0, 0.1, 10)
    return LatencyTable(
        workload=costs.to_config(),
        device=device,
        uncertainty=Uncertainty(residual=0.1, shrink=0.5, repeatability=0.0, speed_spread=0.0),
        entries=entries,
        measurements=(measured,),
    )


def test_latency_is_the_sum_of_the_parts(costs, table):
    cost = Estimator(costs, table)(SPACE.largest())
    # network, stem, two equal blocks of attention and FFN
    assert cost.latency_ms == pytest.approx(6 * 2.0)
    variance = 0.5**2 * (2 * 0.5**2 + 4 * 0.5**2) + (0.1 * 12) ** 2
    assert cost.latency_upper_ms == pytest.approx(12 + 1.645 * math.sqrt(variance))


def test_unmeasured_part_is_named(costs, table):
    arch = {**SPACE.largest(), 'blocks.1.qkv_ratio': 1}
    with pytest.raises(ValueError, match=r'attention d=48 heads=3/3 ratio=1\.0 .*not measured'):
        Estimator(costs, table)(arch)


def analytic_of(costs, part, model):
    return model.part_latency(part, costs.cost_of(part))


def test_fallback_fills_at_the_scale_of_the_table(costs, table):
    model = AnalyticLatency(NOMINAL)
    arch = {**SPACE.largest(), 'blocks.1.qkv_ratio': 1}
    parts = {part.key: part for part in costs.parts(SPACE.largest())}
    (new,) = (part for part in costs.parts(arch) if part.key not in table.entries)
    known = [part for part in parts.values() if part.kind == new.kind == 'attention']
    scale = 2.0 * len(known) / sum(analytic_of(costs, part, model).ms for part in known)
    cost = Estimator(costs, FilledTable(table, model, costs))(arch)
    filled = scale * analytic_of(costs, new, model).ms
    assert cost.latency_ms == pytest.approx(10 + filled)
    own = sum((part.copies * 0.5) ** 2 for part in costs.parts(arch) if part.key != new.key)
    variance = 0.5**2 * own + (0.1 * cost.latency_ms) ** 2 + (MODEL_STD * filled) ** 2
    assert cost.latency_upper_ms == pytest.approx(cost.latency_ms + 1.645 * math.sqrt(variance))


def test_fallback_of_another_resolution(costs, table):
    """What a network takes outside its parts is that of the resolutions which the table has; the model says nothing."""
    filled = FilledTable(table, AnalyticLatency(NOMINAL), costs)
    new = Part('network', {'side': 96})
    assert filled.part_latency(new, PartCost(0, 0)) == (2.0, 0.0, MODEL_STD * 2.0)


def test_fallback_of_a_kind_the_table_lacks(costs, table):
    """It has the scale of all others."""
    model, parts = AnalyticLatency(NOMINAL), {part.key: part for part in costs.parts(SPACE.largest())}
    table = replace(table, entries={key: entry for key, entry in table.entries.items() if not key.startswith('ffn')})
    (new,) = (part for part in parts.values() if part.kind == 'ffn')
    others = [part for part in parts.values() if part.kind not in ('ffn', 'network')]
    scale = 2.0 * len(others) / sum(analytic_of(costs, part, model).ms for part in others)
    latency = FilledTable(table, model, costs).part_latency(new, costs.cost_of(new))
    assert latency.ms == pytest.approx(scale * analytic_of(costs, new, model).ms)


def test_file_keeps_everything(table, tmp_path):
    table.save(tmp_path / 'table.json')
    assert LatencyTable.load(tmp_path / 'table.json') == table
    assert [path.name for path in tmp_path.iterdir()] == ['table.json']


def edit(path, change):
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def set_in_first_entry(name, value):
    def change(raw):
        next(iter(raw['entries'].values()))[name] = value

    return change


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (set_in_first_entry('ms', -1.0), r'ms: got -1\.0'),
        (set_in_first_entry('ms', None), 'ms: got None'),
        (set_in_first_entry('spread', float('nan')), 'spread: got nan'),
        (set_in_first_entry('repeats', 0), 'repeats: got 0'),
        (lambda raw: next(iter(raw['entries'].values())).pop('ms'), 'missing ms'),
        (lambda raw: raw.pop('residual'), 'missing residual'),
        (lambda raw: raw.update(shrink=-1.0), r'shrink: got -1\.0'),
        (lambda raw: raw.update(repeatability=None), 'repeatability: got None'),
        (lambda raw: raw.update(speed_spread=-0.1), r'speed_spread: got -0\.1'),
        (lambda raw: raw.update(colour='red'), 'surplus colour'),
        (lambda raw: raw.update(entries={}), 'entries'),
        (lambda raw: (raw.update(format=3), raw.pop('speed_spread')), 'format: got 3, allowed: 4'),
        (lambda raw: raw['device'].update(threads=0), 'device.threads: got 0'),
        (lambda raw: raw['device'].update(backend=7), 'device.backend: got 7'),
        (lambda raw: raw['device'].update(clock='thread', threads=2), 'device.clock'),
        (lambda raw: raw['measurements'][0].update(ms=-3.0), 'measurements'),
        (lambda raw: raw.update(measurements=[]), r'measurements: got \[\], allowed'),
        (lambda raw: raw.update(held_out=[{}]), r'held_out\[0\]: .*missing arch'),
        (lambda raw: raw.update(held_out={}), 'held_out: got {}'),
        (lambda raw: raw.update(resolutions=[]), r'resolutions: got \[\], allowed'),
        (lambda raw: raw.update(resolutions=None), 'resolutions: got None'),
        (
            lambda raw: raw.update(resolutions=[999]),
            r'resolutions: got \[999\], allowed: those of the measured networks',
        ),
        (lambda raw: raw['measurements'][0].update(arch={}), r'measurements\[0\].arch: .*blocks.0'),
        (lambda raw: raw['measurements'][0]['arch'].update({'blocks.0.qkv_ratio': 77}), r'\[0\].arch: .*77'),
        (lambda raw: raw['device'].update(name=7), 'device.name: got 7'),
        (lambda raw: raw['device'].update(versions=['torch']), r"device.versions: got \['torch'\]"),
        (lambda raw: raw['device']['versions'].update(torch=2), 'device.versions: got .*2'),
        (lambda raw: raw['device']['versions'].update(torch='2\x1b[31m'), 'device.versions: got'),
        (lambda raw: raw['device']['versions'].update({'a\nb': '2'}), 'device.versions: got'),
        (lambda raw: raw['space'].update(type=None), "space: got {'type': None"),
        (lambda raw: raw['backbone'].update(type=None), "backbone: got {'type': None"),
        (lambda raw: raw['space'].update(colour='red'), 'space: .*surplus colour.*embed_dims'),
        (lambda raw: raw['space'].update(num_blocks=0), 'space: num_blocks: got 0'),
    ],
)
def test_wrong_files(table, tmp_path, change, word):
    path = tmp_path / 'table.json'
    table.save(path)
    edit(path, change)
    with pytest.raises(ValueError, match=word) as error:
        LatencyTable.load(path)
    assert str(path) in str(error.value)


def test_truncated_and_missing_files(table, tmp_path):
    path = tmp_path / 'table.json'
    table.save(path)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match='truncated'):
        LatencyTable.load(path)
    path.write_text('[]')
    with pytest.raises(ValueError, match='not a JSON object'):
        LatencyTable.load(path)
    with pytest.raises(ValueError, match='does not exist'):
        LatencyTable.load(tmp_path / 'none.json')


def with_parts_of(table, costs, archs):
    keys = {part.key for arch in archs for part in costs.list_parts(arch)}
    return replace(table, entries=dict.fromkeys(keys, Entry(2.0, 0.5, 10)))


def test_table_of_another_space(costs, table):
    rng = random.Random(1)
    table = with_parts_of(table, costs, [SPACE.sample(rng) for _ in range(400)])
    table.check_fits(costs)
    table.check_fits(costs.restrict({'blocks.*.mlp_ratio': [2, 6]}))
    with pytest.raises(ValueError, match='measured for GLiTSpace, not for AutoViTSpace'):
        table.check_fits(Workload(AutoViTSpace(), {'type': 'mmhybrid.AutoViT'}))
    wider = GLiTSpace(embed_dims=96, num_blocks=2)
    with pytest.raises(ValueError, match=r'stem width=96.*another space'):
        table.check_fits(Workload(wider, BACKBONE, 64))
    with pytest.raises(ValueError, match='input_size 64, not 32'):
        table.check_fits(Workload(SPACE, BACKBONE, 32))
    with pytest.raises(ValueError, match='backbone'):
        table.check_fits(Workload(SPACE, {'type': 'mmhybrid.GLiT'}, 64))


def test_missing_part_is_told_before_the_search(costs, table):
    """The smallest and the largest network do not have it."""
    rng = random.Random(1)
    table = with_parts_of(table, costs, [SPACE.sample(rng) for _ in range(400)])
    missing = 'ffn d=48 ratio=4.0 length=17'
    table = replace(table, entries={key: entry for key, entry in table.entries.items() if key != missing})
    assert missing not in {p.key for arch in (SPACE.smallest(), SPACE.largest()) for p in costs.list_parts(arch)}
    with pytest.raises(ValueError, match=f'lacks the part "{missing}"'):
        table.check_fits(costs)
    with pytest.warns(UserWarning, match=f'1 of .* parts come from the analytic model instead: "{missing}"'):
        FilledTable(table, AnalyticLatency(NOMINAL), costs).warn_of_gaps()


def test_saved_tuples_still_fit(table, tmp_path):
    space = GLNetSpace(widths=((32,), (32,), (64,), (64,)), depths=((1,), (1,), (1, 2), (1,)))
    backbone = {'type': 'mmhybrid.GLNet', 'out_indices': (0, 1, 2, 3)}
    costs, rng = Workload(space, backbone, 64, None), random.Random(1)
    table = with_parts_of(table, costs, [space.sample(rng) for _ in range(400)])
    measured = (Measurement(dict(space.largest()), 12.0, 0.1, 10),)
    replace(table, workload=costs.to_config(), measurements=measured).save(tmp_path / 'table.json')
    loaded = LatencyTable.load(tmp_path / 'table.json')
    loaded.check_fits(costs)
    with pytest.raises(ValueError, match='backbone'):
        loaded.check_fits(Workload(space, {**backbone, 'out_indices': (1, 2, 3)}, 64))


def test_device_mismatch_warns(table):
    elsewhere = replace(table, device=replace(table.device, name='Abacus', versions={'torch': '0.1'}))
    with pytest.warns(UserWarning, match='Abacus'), pytest.warns(UserWarning, match=torch.__version__.split('+')[0]):
        elsewhere.warn_if_elsewhere()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        table.warn_if_elsewhere()
