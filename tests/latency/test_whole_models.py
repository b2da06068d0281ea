"""Latency tables of whole detectors, on images that are not square."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

from mmhybrid.apis.configs import load_config
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.devices import Device
from mmhybrid.latency.held_out import choose_held_out, measure_held_out, predict
from mmhybrid.latency.load import build_estimator, workload_for
from mmhybrid.latency.profile import profile
from mmhybrid.latency.single import predict_arch, time_arch
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan

SIZE = (64, 96)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def cfg() -> Config:
    return load_config(str(ROOT / 'configs/demo/glnet_rtmdet_supernet.py'))


def whole(cfg: Config) -> Workload:
    return Workload.of_model(cfg.model, SIZE, cfg.default_scope)


@pytest.fixture(scope='module')
def workload(cfg: Config) -> Workload:
    """Of that config's model; it remembers the parts of the networks that it was asked for."""
    return whole(cfg)


@pytest.fixture(scope='module')
def path(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('table') / 'table.json'
    device = Device.here('cpu', 'eager', 'float32', batch=1, threads=1, clock='thread')
    profile(workload, device, Plan(networks=12, repeats=3), out)
    return out


def test_a_table_is_of_whole_models(cfg: Config, workload: Workload, path: Path) -> None:
    table = LatencyTable.load(path)
    assert table.resolutions == (SIZE,)
    assert json.loads(path.read_text())['input_size'] == list(SIZE)
    largest = workload.space.largest()
    keys = {part.key for part in workload.list_parts(largest)}
    around = [key for key in keys if key.startswith('surroundings ')]
    assert len(around) == 6  # all, each output, and two pairs that meet
    assert sum(table.entries[key].ms for key in around) > 0
    # measured as the table's own, it takes what the table says, within a factor on this busy machine
    predicted = predict_arch(largest, table, workload_for(table, cfg))
    measured = time_arch(largest, table, 3, workload_for(table, cfg))
    backbones = Workload(workload.space, workload.backbone, SIZE)
    alone = time_arch(largest, table, 3, backbones)
    assert predicted.ms == pytest.approx(measured.ms, rel=0.5)
    assert alone.ms < measured.ms


def test_a_square_is_one_size_however_it_is_written(cfg: Config, tmp_path: Path) -> None:
    """A table of the images that a config's search gives as height and width serves this search."""
    pair = Workload.of_model(cfg.model, (64, 64), cfg.default_scope)
    device = Device.here('cpu', 'eager', 'float32', batch=1, threads=1, clock='thread')
    profile(pair, device, Plan(networks=8, repeats=2), tmp_path / 'table.json')
    table = LatencyTable.load(tmp_path / 'table.json')
    assert table.resolutions == (64,)
    table.check_setting(pair)
    table.check_setting(Workload.of_model(cfg.model, 64, cfg.default_scope))


def test_networks_that_it_has_not_seen_are_measured_as_its_own(cfg: Config, path: Path) -> None:
    table = LatencyTable.load(path)
    workload = workload_for(table, cfg)
    archs = choose_held_out(workload, table, 4, 0)
    held_out = measure_held_out(workload, table, archs, Plan(repeats=2))
    estimates, bounds = predict(Estimator(workload, table), archs)
    assert held_out.milliseconds.shape == estimates.shape == (4,)
    assert (bounds > estimates).all()


def test_a_table_serves_its_own_model_alone(cfg: Config, workload: Workload, path: Path) -> None:
    table = LatencyTable.load(path)
    build_estimator(workload, path)
    with pytest.raises(ValueError, match=r'measured for whole models, not the backbone of RTMDet; measure it anew'):
        table.check_setting(Workload(workload.space, workload.backbone, SIZE))
    alone = replace(table, workload=replace(table.workload, around=None))
    with pytest.raises(ValueError, match='measured for the backbone alone, not RTMDet; measure it anew'):
        alone.check_setting(workload)
    with pytest.raises(ValueError, match=r'measured with input_size \[64, 96\], not 64'):
        table.check_setting(Workload.of_model(cfg.model, 64, cfg.default_scope))
    wider = load_config(
        str(ROOT / 'configs/demo/glnet_rtmdet_supernet.py'), {'model.architecture.neck.out_channels': 64}
    )
    wider.model.architecture.bbox_head.in_channels = 64
    with pytest.raises(ValueError, match=r'measured for another model: neck.out_channels was 48, now 64'):
        table.check_setting(whole(wider))
    losses = load_config(str(ROOT / 'configs/demo/glnet_rtmdet_supernet.py'))
    losses.model.architecture.bbox_head.loss_bbox.loss_weight = 3.0
    table.check_setting(whole(losses))


def test_a_table_has_the_sizes_of_neck_and_head(cfg: Config, tmp_path: Path) -> None:
    """A dozen detectors tell of all widths and depths; a table of one size of them is for a search of that alone."""
    genes = {'neck': {'out_channels': [16, 48]}, 'bbox_head': {'feat_channels': [16, 48], 'stacked_convs': [1, 2]}}
    workload = Workload.of_model({**cfg.model, 'genes': genes}, SIZE, cfg.default_scope)
    device = Device.here('cpu', 'eager', 'float32', batch=1, threads=1, clock='thread')
    profile(workload, device, Plan(networks=12, repeats=3), tmp_path / 'table.json')
    table = LatencyTable.load(tmp_path / 'table.json')
    estimate = build_estimator(workload, tmp_path / 'table.json').estimates
    largest = workload.space.largest()
    narrow = {**largest, 'neck.out_channels': 16, 'bbox_head.feat_channels': 16}
    shallow = {**narrow, 'bbox_head.stacked_convs': 1}
    latencies = [estimate(arch)['latency_ms'] for arch in (largest, narrow, shallow)]
    assert latencies == sorted(latencies, reverse=True)
    assert latencies[0] > latencies[2]
    with pytest.raises(ValueError, match='measured for WholeModelSpace, not for GLNetSpace'):
        table.check_setting(whole(cfg))


def test_a_table_has_all_resolutions(cfg: Config, tmp_path: Path) -> None:
    """Those of the space, whatever size the search names for detectors that have one alone."""
    workload = Workload.of_model({**cfg.model, 'genes': {'resolution': [64, 128]}}, 96, cfg.default_scope)
    device = Device.here('cpu', 'eager', 'float32', batch=1, threads=1, clock='thread')
    profile(workload, device, Plan(networks=8, repeats=3), tmp_path / 'table.json')
    table = LatencyTable.load(tmp_path / 'table.json')
    assert table.resolutions == (64, 128)
    estimate = build_estimator(workload, tmp_path / 'table.json').estimates
    largest = workload.space.largest()
    assert estimate({**largest, 'resolution': 64})['latency_ms'] < estimate(largest)['latency_ms']


def test_a_file_builds_no_model_of_a_host(path: Path) -> None:
    """Components of hosts read files and programs that a config names; a table is data."""
    table = LatencyTable.load(path)
    with pytest.raises(ValueError, match='latency table: its networks are whole models, RTMDet: give their config too'):
        table.build_workload()
    with pytest.raises(ValueError, match='give their config too'):
        workload_for(table, None)


@pytest.mark.parametrize(
    ('field', 'value', 'told'),
    [
        ('around', 3, 'around: got 3'),
        ('input_size', [64], 'input_size: got'),
        ('input_size', [64, 0], 'input_size: got 0'),
        ('resolutions', [64], 'resolutions: got'),
        ('resolutions', [[96, 64]], 'resolutions: got'),
    ],
)
def test_damage_is_told(path: Path, tmp_path: Path, field: str, value: object, told: str) -> None:
    damaged = tmp_path / 'table.json'
    damaged.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ValueError, match=told):
        LatencyTable.load(damaged)
