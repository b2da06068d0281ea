"""Whatever a file says: nothing that is read as data is imported or run by its name."""

import json
import runpy
import sqlite3
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / 'search'))

from search_toys import AUTOVIT, Smooth, estimate, random_stage, search, settings

from mmhybrid.datasets.demo_scenes import make_demo_data
from mmhybrid.datasets.label_maps import read_label_map
from mmhybrid.engine import cli
from mmhybrid.engine.retraining import RECORD_FILE, Retraining, read_search
from mmhybrid.engine.subnet_export import found_in
from mmhybrid.estimation.analytic import NOMINAL
from mmhybrid.estimation.devices import Device
from mmhybrid.estimation.estimator import PartCounter
from mmhybrid.estimation.latency import build_latency, load_latency
from mmhybrid.estimation.latency_table import Entry, LatencyTable, Measurement, parts_of_space
from mmhybrid.estimation.profiler import profile
from mmhybrid.estimation.timing import Plan
from mmhybrid.models.checkpoints import plain_weights, read_checkpoint
from mmhybrid.models.convert import convert_file
from mmhybrid.registry import MODELS, SAMPLERS, SEARCH_SPACES
from mmhybrid.search import Searcher, StudyStorage, read_study
from mmhybrid.search.registered import settings_from_data
from mmhybrid.space import Arch, GLiTSpace
from mmhybrid.utils.errors import CannotGoOnError

ROOT = Path(__file__).resolve().parents[1]
Config = dict[str, Any]
SPACE = GLiTSpace(embed_dims=48, num_blocks=2, level='attention')
BACKBONE = {'type': 'mmhybrid.GLiT', 'img_size': 64}
PLAN = settings(AUTOVIT, [random_stage(budget=4, population=4)])
PACKAGE = 'leaves_a_trace'


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What each of :data:`ATTACKS` makes, if it is built or its module is imported."""
    trace = tmp_path / 'trace'
    package = tmp_path / 'importable' / PACKAGE
    package.mkdir(parents=True)
    text = f'open({str(trace)!r}, "w").close()\nclass Thing:\n    def __init__(self, **_):\n        pass\n'
    for module in ('__init__', 'registry'):
        (package / f'{module}.py').write_text(text)
    monkeypatch.syspath_prepend(str(package.parent))
    yield trace
    for name in [name for name in sys.modules if name.partition('.')[0] == PACKAGE]:
        del sys.modules[name]


ATTACKS: dict[str, Callable[[Path], Config]] = {
    'command': lambda trace: {'type': 'os.system', 'command': f'touch {trace}'},
    'module': lambda trace: {'type': PACKAGE},
    'class': lambda trace: {'type': f'{PACKAGE}.Thing'},
    'scope': lambda trace: {'type': 'Thing', '_scope_': PACKAGE},
}


@pytest.mark.parametrize('attack', ATTACKS)
@pytest.mark.parametrize('registry', [SEARCH_SPACES, SAMPLERS, MODELS], ids=lambda registry: registry.name)
def test_what_configs_may_do_leaves_a_trace(marker: Path, attack: str, registry: Any) -> None:
    """Or the tests below could not fail."""
    with suppress(KeyError, TypeError):  # a module, once it is imported, is found to be no class
        registry.build(ATTACKS[attack](marker))
    assert marker.exists()


# Files with a type in each place where a file may have one


def content_of(config: Config, path: Path) -> str:
    path.write_text(json.dumps(config))
    return str(path)


def arch_file(folder: Path, evil: Config) -> Path:
    path = folder / 'arch.json'
    content_of({'space': evil, 'arch': dict(AUTOVIT.smallest()), 'metrics': {'top1': 1.0}}, path)
    return path


def poisoned(place: str, evil: Config) -> Config:
    """Settings of a search, as a storage holds them."""
    config = PLAN.to_config()
    if place == 'space':
        config['space'] = evil
    else:
        config['stages'][0][place.removeprefix('stage.')] = evil
    return config


def journal(folder: Path, place: str, evil: Config) -> Path:
    search(folder, PLAN)
    path = folder / 'search.journal'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if 'settings' in line.get('user_attr', {}):
            line['user_attr']['settings'] = poisoned(place, evil)
    path.write_text(''.join(f'{json.dumps(line, separators=(",", ":"))}\n' for line in lines))
    return folder


def database(folder: Path, place: str, evil: Config) -> str:
    url = f'sqlite:///{folder}/search.db'
    Searcher(replace(PLAN), estimate, Smooth(AUTOVIT), StudyStorage(url, PLAN), poll_seconds=0.01).run()
    with sqlite3.connect(folder / 'search.db') as connection:
        text = json.dumps(poisoned(place, evil))
        connection.execute("update study_user_attributes set value_json = ? where key = 'settings'", (text,))
    connection.close()
    return url


def table(folder: Path, **changes: Any) -> Path:
    """A latency table, but for some of its fields."""
    keys = parts_of_space(PartCounter(SPACE, BACKBONE, 64, None))
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    measured = Measurement(dict(SPACE.largest()), 12.0, 0.1, 10)
    entries = {key: Entry(2.0, 0.5, 10) for key in keys}
    sound = LatencyTable(SPACE.to_config(), BACKBONE, 64, None, (64,), device, 0.1, 0.5, 0, 0, entries, (measured,))
    path = folder / 'table.json'
    sound.save(path)
    content_of({**json.loads(path.read_text()), **changes}, path)
    return path


def tool(name: str, *arguments: object) -> None:
    runpy.run_path(str(ROOT / f'tools/{name}.py'))['main']([str(argument) for argument in arguments])


def report(table: Path) -> None:
    tool('latency_report', table, '--networks', 2, '--repeats', 2)


def networks_file(folder: Path, evil: Config) -> None:
    config = ROOT / 'configs/demo/autovit_search.py'
    (folder / 'supernet.pth').write_bytes(b'')
    objective = replace(PLAN.objectives[0], name='accuracy/top1')
    retraining = Retraining(
        cli.load_config(str(config)), str(folder / 'supernet.pth'), replace(PLAN, objectives=[objective]), folder
    )
    network = {'name': 'net', 'arch': evil, 'supernet_score': 0, 'retrained_score': 0}
    record = {'settings': retraining._settings, 'networks': [{**network, 'config': 'a', 'checkpoint': 'b', **evil}]}
    content_of(record, folder / RECORD_FILE)
    retraining._read_record()


def analytic_model(folder: Path, evil: Config) -> None:
    path = folder / 'analytic.json'
    content_of({'format': 2, 'rates': {**asdict(NOMINAL), **evil}, 'batch': 1, 'device': evil}, path)
    load_latency(path)


def partial_table(folder: Path, evil: Config) -> None:
    content_of({'setting': evil, 'timed': [evil], 'again': [evil]}, folder / 'table.json.partial')
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    profile(PartCounter(SPACE, BACKBONE, 64, None), device, Plan(3, 1, 0), folder / 'table.json')


def demo_settings(folder: Path, evil: Config) -> None:
    content_of(evil, folder / 'settings.json')
    make_demo_data(folder)


def checkpoint(folder: Path, evil: Config) -> str:
    path = folder / 'epoch_1.pth'
    names = ('meta', 'message_hub', 'optimizer', 'state_dict', 'ema_state_dict', 'model')
    torch.save(dict.fromkeys(names, evil), path)
    return str(path)


def label_map(folder: Path, evil: Config) -> None:
    torch.save(evil, folder / 'map.pt')
    read_label_map(folder / 'map.pt')


def dummy(folder: Path) -> list[object]:
    """Arguments of a tool that reads a storage before anything else."""
    return [folder / 'none.py', '--checkpoint', folder / 'none.pth', '--work-dir', folder, '--count', 2]


PLACES = ('space', 'stage.space', 'stage.sampler')
READERS: dict[str, Callable[[Path, Config], Any]] = {
    'plot_arch': lambda folder, evil: tool('plot_arch', arch_file(folder, evil), '--out', folder / 'a.svg'),
    'export_subnet': lambda folder, evil: found_in(SPACE, arch_file(folder, evil)),
    'arch': lambda folder, evil: Arch.from_json(json.dumps({'arch': evil})),
    **{
        f'search_report {place}': lambda folder, evil, place=place: tool('search_report', journal(folder, place, evil))
        for place in PLACES
    },
    **{
        f'database {place}': lambda folder, evil, place=place: read_study(
            database(folder, place, evil), settings_from_data
        )
        for place in PLACES
    },
    'retrain_topk': lambda folder, evil: tool('retrain_topk', *dummy(journal(folder, 'space', evil))),
    'audit_ranking': lambda folder, evil: tool('audit_ranking', *dummy(journal(folder, 'stage.sampler', evil))),
    'read_search': lambda folder, evil: read_search(
        Namespace(work_dir=journal(folder, 'stage.space', evil), storage=None, study_name='search', count=1)
    ),
    'table space': lambda folder, evil: report(table(folder, space=evil)),
    'table backbone': lambda folder, evil: report(table(folder, backbone=evil)),
    'table norm': lambda folder, evil: report(
        table(folder, backbone={**BACKBONE, 'out_type': 'featmap', 'out_norm_cfg': evil})
    ),
    'table initial values': lambda folder, evil: report(table(folder, backbone={**BACKBONE, 'init_cfg': [evil]})),
    'table below ours': lambda folder, evil: report(
        table(folder, backbone={**BACKBONE, 'type': 'GLiT', 'parts': [evil]})
    ),
    'table of a search': lambda folder, evil: build_latency(table(folder, space=evil), None, SPACE, BACKBONE, 64, None),
    'table of another space': lambda folder, evil: load_latency(table(folder, space=evil)).part_counter(),
    'analytic model': analytic_model,
    'interrupted table': partial_table,
    'networks.json': networks_file,
    'demo data': demo_settings,
    'training': lambda folder, evil: cli.check_resumable(
        torch.nn.Linear(1, 1), read_checkpoint(checkpoint(folder, evil)), 'epoch_1.pth'
    ),
    'averaged weights': lambda folder, evil: plain_weights(checkpoint(folder, evil)),
    'released weights': lambda folder, evil: convert_file(Path(checkpoint(folder, evil)), folder / 'converted.pth'),
    'label map': label_map,
}
# What looks for nothing where the type stands.
READ_PAST = ('averaged weights',)


@pytest.mark.parametrize('attack', ATTACKS)
@pytest.mark.parametrize('reader', READERS)
def test_no_reader_imports_or_runs_what_a_file_names(
    marker: Path, tmp_path: Path, reader: str, attack: str, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / 'data'
    folder.mkdir()
    refusal = nullcontext() if reader in READ_PAST else pytest.raises((SystemExit, ValueError, CannotGoOnError))
    with refusal as ended:
        READERS[reader](folder, ATTACKS[attack](marker))
    assert not marker.exists()
    assert PACKAGE not in sys.modules
    if ended is not None and isinstance(ended.value, SystemExit):
        assert ended.value.code == 2 or isinstance(ended.value.code, str)
        assert 'Traceback' not in capsys.readouterr().err
