"""Searched networks taken out of their supernets, on generated data."""

import csv
import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from mmengine.config import Config

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.export_metadata import own_shape
from mmhybrid.apis.host_configs import write_host_config
from mmhybrid.apis.narrowing import narrowed
from mmhybrid.apis.network_files import name_of, write_network
from mmhybrid.apis.searching import search
from mmhybrid.apis.taking_out import TOLERANCE, Standalone, build_supernet, take_out
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.models.fitting import fitted
from mmhybrid.registry import MODELS, SEARCH_SPACES
from mmhybrid.search import Candidate, Objective, RandomSampler, Searcher, SearchSettings, Stage, StudyStorage
from mmhybrid.space import Arch
from mmhybrid.space.found import read_found

ROOT = Path(__file__).resolve().parents[2]

import export_subnet  # noqa: E402
import test as test_tool  # noqa: E402
import train as train_tool  # noqa: E402

DETECTORS = ('autovit/retinanet_autovit_s_1x_coco.py', 'autovit/mask-rcnn_autovit_s_1x_coco.py')
SEGMENTOR = 'autovit/upernet_autovit_s_160k_ade20k.py'
RECIPE = 'autovit/autovit_xxs_in1k.py'
HIDDEN = ('mmhybrid.space', 'mmhybrid.search', 'mmhybrid.models.supernets', 'mmhybrid.models.one_shot', 'optuna')


def save_supernet(config: Path, out: Path) -> None:
    """Random weights and statistics."""
    cfg = load_config(str(config))
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor, '_scope_': 'mmpretrain'})
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = 0.1 * torch.randn_like(tensor)
            tensor.add_(noise.abs() if name.endswith('running_var') else noise)
    torch.save({'state_dict': model.state_dict()}, out)


@pytest.fixture(scope='module')
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A search over two resolutions on generated images, and its winner taken out."""
    folder = tmp_path_factory.mktemp('export')
    make_demo_data(folder / 'data', num_train=24, num_val=4, size=64, seed=0)
    config = folder / 'search.py'
    config.write_text(f"""
_base_ = [{str(ROOT / 'configs/demo/autovit_search.py')!r}]
root = {str(folder / 'data/imagenet')!r}
loader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(data_root=root))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
model = dict(architecture=dict(backbone=dict(space=dict(table=dict(resolutions=[64, 80])))))
search_cfg = dict(
    stages=dict(_delete_=True, random=dict(sampler=dict(type='RandomSampler'), budget=4, population=4)),
    constraints=dict(_delete_=True),
    calibration=dict(num_images=4, dataset=dict(data_root=root)),
)
train_cfg = dict(max_epochs=1)
""")
    supernet = folder / 'supernet.pth'
    save_supernet(config, supernet)
    search(load_config(str(config), work_dir=str(folder / 'search')), str(supernet))
    arguments = [str(config), '--checkpoint', str(supernet), '--arch', str(folder / 'search/best_arch.json')]
    targets = [str(ROOT / 'configs' / target) for target in (*DETECTORS, SEGMENTOR, RECIPE)]
    export_subnet.main([*arguments, '--out-dir', str(folder / 'out'), '--into', *targets])
    best = json.loads((folder / 'search/best_arch.json').read_text())
    return {'folder': folder, 'arguments': arguments, 'best': best, 'config': config, 'supernet': supernet}


def test_its_score_is_that_of_the_search(found: dict[str, Any], capfd: pytest.CaptureFixture) -> None:
    out = found['folder'] / 'out'
    work_dir = str(found['folder'] / 'test')
    test_tool.main([str(out / 'best.py'), str(out / 'best.pth'), '--split', 'val', '--work-dir', work_dir])
    scores = re.findall(r'accuracy/top1: ([\d.]+)', ''.join(capfd.readouterr()))
    assert float(scores[-1]) == pytest.approx(found['best']['metrics']['accuracy/top1'], abs=1e-4)


def search_on_paper(found: dict[str, Any], folder: Path, budget: int) -> tuple[list[str], list[Candidate]]:
    """Arguments to take networks of a search out, and what it found: invented scores, real costs."""
    cfg = load_config(str(found['config']))
    space = SEARCH_SPACES.build(dict(cfg.model.architecture.backbone.space))
    settings = SearchSettings(
        space, [Stage(sampler=RandomSampler(), budget=budget, population=4)], [Objective('accuracy/top1')]
    )
    estimate = Estimator(Workload.of_model(cfg.model, None)).estimates
    scores = random.Random(1)

    def evaluate(arch: Arch) -> dict[str, float]:
        return {'accuracy/top1': 0.1 * estimate(arch)['macs_m'] + scores.random()}

    result = Searcher(settings, estimate, evaluate, StudyStorage(folder / 'search.journal', settings)).run()
    config, _, supernet = found['arguments'][:3]
    return [config, '--checkpoint', supernet, '--work-dir', str(folder)], result.evaluated


@pytest.fixture
def scored(found: dict[str, Any], tmp_path: Path) -> tuple[list[str], list[Candidate]]:
    return search_on_paper(found, tmp_path / 'scored', budget=8)


def test_a_front_is_taken_out_whole(
    scored: tuple[list[str], list[Candidate]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, evaluated = scored
    points = {c.arch: ((c.metrics or {})['accuracy/top1'], c.estimates['macs_m']) for c in evaluated}
    expected = {
        arch
        for arch, (score, macs) in points.items()
        if not any(s >= score and m <= macs and (s, m) != (score, macs) for s, m in points.values())
    }
    assert 1 < len(expected) < len(evaluated)
    out = tmp_path / 'out'
    export_subnet.main([*arguments, '--front', '--out-dir', str(out), '--into', str(ROOT / 'configs' / SEGMENTOR)])
    with (out / 'front.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert {Arch.from_json(row['arch']) for row in rows} == expected
    assert {path.name for path in out.iterdir()} == {'front.csv', *(row['name'] for row in rows)}
    scores = [float(row['accuracy/top1']) for row in rows]
    assert scores == sorted(scores, reverse=True)
    printed = capsys.readouterr().out
    for rank, row in enumerate(rows, start=1):
        arch, name = Arch.from_json(row['arch']), row['name']
        assert row['rank'] == str(rank)
        assert (float(row['accuracy/top1']), float(row['macs_m'])) == points[arch]
        files = [out / path for path in row['files'].split()]
        assert len(files) == 5
        assert all(path.is_file() and path.parent == out / name for path in files)
        written = load_config(str(out / name / f'{name}.py'))
        network = MODELS.build({**written.model, '_scope_': 'mmpretrain'})
        backbone = network.backbone.arch
        assert backbone == SEARCH_SPACES.build(
            dict(load_config(arguments[0]).model.architecture.backbone.space)
        ).decode(arch)
        weights = torch.load(out / name / f'{name}.pth', weights_only=True)
        network.load_state_dict(weights['state_dict'])
        assert weights['meta']['metrics'] == {'accuracy/top1': points[arch][0]}
        assert f'{name}: accuracy/top1 {points[arch][0]:.4g}, macs_m {points[arch][1]:.4g}' in printed
        assert read_found(f'{out}/front.csv:{rank}').arch == arch


def test_no_network_of_a_front_is_written_elsewhere(
    scored: tuple[list[str], list[Candidate]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, elsewhere = tmp_path / 'out', tmp_path / 'elsewhere'
    out.mkdir()
    elsewhere.mkdir()
    for candidate in scored[1]:
        (out / name_of(candidate.arch)).symlink_to(elsewhere)
    with pytest.raises(SystemExit) as caught:
        export_subnet.main([*scored[0], '--front', '--out-dir', str(out)])
    assert caught.value.code == 2
    assert f'a link to {elsewhere}, out of {out}' in capsys.readouterr().err
    assert not list(elsewhere.iterdir())


def test_the_networks_of_a_front_are_written_for_a_runtime_too(found: dict[str, Any], tmp_path: Path) -> None:
    """Each file computes what the network beside it does, and says for which images it was made."""
    runtime = pytest.importorskip('onnxruntime')
    arguments, _ = search_on_paper(found, tmp_path / 'scored', budget=2)
    out = tmp_path / 'out'
    export_subnet.main([*arguments, '--front', '--format', 'onnx', '--out-dir', str(out)])
    with (out / 'front.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        folder, name = out / row['name'], row['name']
        assert f'{name}/{name}.onnx' in row['files'].split()
        written = load_config(str(folder / f'{name}.py'))
        network = MODELS.build({**written.model, 'data_preprocessor': None, '_scope_': 'mmpretrain'}).eval()
        network.load_state_dict(torch.load(folder / f'{name}.pth', weights_only=True)['state_dict'])
        session = runtime.InferenceSession(str(folder / f'{name}.onnx'))
        told = session.get_modelmeta().custom_metadata_map
        side = Arch.from_json(row['arch'])['resolution']
        assert told['resolution'] == f'{side} x {side}'
        images = torch.rand(1, 3, side, side)
        (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(logits), network(images, mode='tensor'), rtol=1e-3, atol=1e-4)


def test_the_best_for_a_budget_is_taken_out(
    scored: tuple[list[str], list[Candidate]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, evaluated = scored
    costs = sorted(candidate.estimates['macs_m'] for candidate in evaluated)
    export_subnet.main([*arguments, '--within', f'macs_m={costs[3]}', '--out-dir', str(tmp_path / 'out')])
    kept = [(c.metrics or {})['accuracy/top1'] for c in evaluated if c.estimates['macs_m'] <= costs[3]]
    metrics = torch.load(tmp_path / 'out/best.pth', weights_only=True)['meta']['metrics']
    assert metrics['accuracy/top1'] == max(kept)
    capsys.readouterr()

    def told(*which: str) -> str:
        with pytest.raises(SystemExit) as ended:
            export_subnet.main([*arguments, '--out-dir', str(tmp_path / 'none'), *which])
        assert ended.value.code == 2
        return capsys.readouterr().err

    least = f'none of the 8 networks keeps macs_m <= 0.5; the least is {costs[0]:.4g} for macs_m'
    assert least in told('--within', 'macs_m=0.5')
    estimates = "bound: got 'latency_ms', allowed: one of the estimates ['macs_m', 'params_m']"
    assert estimates in told('--within', 'latency_ms=20')
    assert 'got latency_ms, allowed: an estimate and its maximum' in told('--within', 'latency_ms')
    assert 'not allowed with' in told('--within', 'macs_m=1', '--front')
    assert 'does not exist' in told('--front', '--work-dir', str(tmp_path / 'nothing'))
    assert '--work-dir: required with --front' in told('--arch', 'best_arch.json')
    assert '--name: not allowed with --front' in told('--front', '--name', 'mine')
    with pytest.raises(SystemExit):
        export_subnet.main([*arguments[:3], '--arch', 'a.json', '--storage', 'a.db', '--out-dir', 'none'])
    assert '--storage: not allowed with --arch' in capsys.readouterr().err
    assert not (tmp_path / 'none').exists()


def test_folders_of_others_lead_to_no_file_elsewhere(found: dict[str, Any], tmp_path: Path) -> None:
    """What links have the names that a search, an export and a test write: each may lead to a file of the user's."""
    outside, config = tmp_path / 'outside', found['config']
    outside.write_text('as it was')
    copy = Path(config).name
    names = ('search/best_arch.json', 'search/topk.csv', f'search/{copy}', 'test/best.py')
    exported = [f'out/best{end}' for end in ('.py', '_backbone.py', '.pth', '.safetensors', f'_{Path(RECIPE).name}')]
    for name in (*names, *exported):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(outside)
    search(load_config(str(config), work_dir=str(tmp_path / 'search')), str(found['supernet']))
    target = str(ROOT / 'configs' / RECIPE)
    export_subnet.main([*found['arguments'], '--out-dir', str(tmp_path / 'out'), '--into', target])
    out, work_dir = tmp_path / 'out', str(tmp_path / 'test')
    test_tool.main([str(out / 'best.py'), str(out / 'best.pth'), '--split', 'val', '--work-dir', work_dir])
    assert outside.read_text() == 'as it was'
    assert all((tmp_path / name).is_file() and not (tmp_path / name).is_symlink() for name in (*names, *exported))


@pytest.mark.parametrize('seed', range(4))
def test_every_network_is_the_supernets(found: dict[str, Any], seed: int, tmp_path: Path) -> None:
    cfg = load_config(str(found['config']))
    model = build_supernet(cfg, str(found['supernet']))
    arch = model.space.sample(random.Random(seed))
    network = take_out(model, cfg, arch)
    assert network.difference <= TOLERANCE
    write_network(network, cfg, tmp_path, 'net', {})
    written = load_config(str(tmp_path / 'net.py'))
    standalone = MODELS.build(
        {**written.model, 'data_preprocessor': written.data_preprocessor, '_scope_': 'mmpretrain'}
    )
    weights = torch.load(tmp_path / 'net.pth', weights_only=True)['state_dict']
    standalone.load_state_dict(weights)
    safe = safetensors.torch.load_file(tmp_path / 'net.safetensors')
    assert safe.keys() == weights.keys()
    assert all(torch.equal(safe[name], weights[name]) for name in weights)
    parameters = sum(parameter.numel() for parameter in standalone.parameters())
    assert network.params_m == pytest.approx(parameters / 1e6)
    images = torch.rand(1, 3, 64, 64)
    size = arch['resolution']
    assert network.image_shape == (size, size)
    meta = torch.load(tmp_path / 'net.pth', weights_only=True)['meta']
    assert meta['image_shape'] == [size, size]
    assert own_shape(written, {'meta': meta}) == (size, size)
    assert standalone.data_preprocessor({'inputs': images}, False)['inputs'].shape[-2:] == (size, size)


def test_a_segmentor_is_the_supernets(found: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / 'segmentor.py'
    config.write_text(f"""
_base_ = [{str(ROOT / 'configs/demo/glnet_seg.py')!r}]
segmentor = _base_.model
segmentor.pop('backbone')
segmentor['decode_head']['in_channels'] = [32, 64, 96, 128]
space = dict(
    type='mmhybrid.GLNetSpace', widths=[[32], [32, 64], [64, 96], [96, 128]], depths=[[1]] * 4, num_slots=[9]
)
dense = dict(type='mmhybrid.GLNet', out_indices=(0, 1, 2, 3), out_norm_cfg=dict(type='LN2d'))
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    mutator=dict(type='mmhybrid.UniformMutator', seed=0),
    architecture=dict(**segmentor, backbone=dict(type='mmhybrid.Supernet', space=space, backbone=dense)),
)
images = dict(_base_.val_dataloader.dataset)
images['data_root'] = {str(found['folder'] / 'data/ade')!r}
val_cfg = dict(calibration=dict(num_images=4, batch_size=4, dataset=images))
""")
    import mmseg.models  # noqa: F401

    cfg = load_config(str(config))
    model = MODELS.build({**cfg.model, '_scope_': 'mmseg'})
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'supernet.pth')
    model = build_supernet(cfg, str(tmp_path / 'supernet.pth'))
    widths = set()
    for seed in range(3):
        network = take_out(model, cfg, model.space.sample(random.Random(seed)))
        assert network.difference <= TOLERANCE
        widths.add(network.channels)
    assert len(widths) > 1


def test_it_trains(found: dict[str, Any]) -> None:
    out, work_dir = found['folder'] / 'out', found['folder'] / 'train'
    train_tool.main([str(out / 'best.py'), '--work-dir', str(work_dir), '--cfg-options', f'load_from={out}/best.pth'])
    assert (work_dir / 'epoch_1.pth').exists()


def test_its_folder_can_be_moved(found: dict[str, Any], tmp_path: Path) -> None:
    moved = shutil.copytree(found['folder'] / 'out', tmp_path / 'moved')
    init_cfg = load_config(str(moved / 'best_backbone.py')).searched.pretrained
    assert init_cfg.checkpoint == str(moved / 'best.pth')
    assert load_config(str(moved / 'best.py')).searched.pretrained == init_cfg


def test_other_models_take_it_without_any_code_of_the_search(found: dict[str, Any]) -> None:
    out = found['folder'] / 'out'
    names = ['best.py', *(f'best_{Path(target).name}' for target in (*DETECTORS, SEGMENTOR, RECIPE))]
    program = f"""
import sys
from importlib.abc import MetaPathFinder

class Hider(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith({HIDDEN!r}):
            raise AssertionError(f'{{name}} is imported')

sys.meta_path.insert(0, Hider())
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
import mmhybrid
import mmhybrid.apis.testing, mmhybrid.apis.training, mmhybrid.commands.shared.mistakes

weights = torch.load({str(out / 'best.pth')!r}, weights_only=True)['state_dict']
for name in {names!r}:
    cfg = Config.fromfile({str(out)!r} + '/' + name)
    __import__(cfg.default_scope + '.models')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    backbone = model.backbone.state_dict()
    if cfg.default_scope != 'mmpretrain':
        shared = [name for name in backbone if 'backbone.' + name in weights]
        assert len(shared) > 100 and all(torch.equal(backbone[name], weights['backbone.' + name]) for name in shared)
        with torch.no_grad():
            outs = model.backbone.eval()(torch.rand(1, 3, 64, 64))
            model.neck(outs) if model.with_neck else model.decode_head.eval()(outs)
"""
    subprocess.run([sys.executable, '-c', program], check=True, cwd=ROOT, timeout=300)


def test_mistakes_are_told_in_a_sentence(found: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def sentence(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            export_subnet.main([*found['arguments'], '--out-dir', str(tmp_path), *arguments])
        assert stop.value.code == 2
        return capsys.readouterr().err

    foreign = {'arch': {**found['best']['arch'], 'stem.width': 17}}
    (tmp_path / 'foreign.json').write_text(json.dumps(foreign))
    assert 'stem.width' in sentence('--arch', str(tmp_path / 'foreign.json'))
    (tmp_path / 'broken.json').write_text('{"arch": ')
    assert 'not JSON' in sentence('--arch', str(tmp_path / 'broken.json'))
    assert 'does not exist' in sentence('--arch', str(tmp_path / 'none.json'))
    other = ROOT / 'configs/glit/retinanet_glit_tiny_1x_coco.py'
    assert 'mmhybrid.AutoViT' in sentence('--into', str(other))
    assert not list(tmp_path.glob('*.safetensors.*'))


def test_heads_that_read_several_outputs_lose_the_right_channels() -> None:
    wide, narrow = (8, 16), (6, 12)
    alone = torch.arange(16.0).reshape(1, 16)
    assert narrowed('head', alone, torch.Size((1, 12)), wide, narrow).tolist() == [list(range(12))]
    beside = torch.arange(20.0).reshape(1, 20)
    expected = [*range(12), *range(16, 20)]
    assert narrowed('head', beside, torch.Size((1, 16)), wide, narrow).tolist() == [expected]
    with pytest.raises(ValueError, match='cannot be made narrower'):
        narrowed('head', alone, torch.Size((1, 15)), wide, narrow)


def test_fitted_reads_what_the_configs_say() -> None:
    channels = (8, 16, 24)
    assert fitted({'neck': {'type': 'FPN', 'in_channels': [1, 2, 3]}, 'head': {'in_channels': 9}}, channels) == {
        'neck': {'in_channels': [8, 16, 24]}
    }
    model = Config(
        {
            'decode_head': {'in_channels': [1, 2], 'in_index': [0, 2]},
            'auxiliary_head': [{'in_channels': 5, 'in_index': 1, 'type': 'FCNHead'}],
        }
    )._cfg_dict.to_dict()
    assert fitted(model, channels) == {
        'decode_head': {'in_channels': [8, 24]},
        'auxiliary_head': [{'in_channels': 16, 'in_index': 1, 'type': 'FCNHead'}],
    }
    with pytest.raises(ValueError, match='in_channels'):
        fitted({'neck': {'in_channels': [1, 2, 3, 4]}}, channels)


def test_a_files_words_are_not_run(found: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The names of metrics reach the docstring of a config, which is a program."""
    trace, arch = tmp_path / 'trace', tmp_path / 'best_arch.json'
    call = f'__import__("pathlib").Path({str(trace)!r}).touch()'
    arguments = [*found['arguments'][:-1], str(arch), '--out-dir', str(tmp_path / 'out')]
    arch.write_text(json.dumps({**found['best'], 'metrics': {f'a"""; {call}; b = """': 1.0, "{{ $N:'\\'}}": 2.0}}))
    export_subnet.main([*arguments, '--into', str(ROOT / 'configs' / RECIPE)])
    for config in sorted((tmp_path / 'out').glob('*.py')):
        load_config(str(config))
    assert not trace.exists()
    capsys.readouterr()
    arch.write_text(json.dumps({**found['best'], 'metrics': {f'a"""\n{call}\nb = """': 1.0}}))
    with pytest.raises(SystemExit) as ended:
        export_subnet.main(arguments)
    assert ended.value.code == 2
    assert 'metric: got' in capsys.readouterr().err
    assert not trace.exists()


@pytest.mark.parametrize('name', ['', '.', '..', '../up', 'a/b', 'a\\b', 'a"""', 'a\nb', 'n' * 201, '-n', '{{a}}'])
def test_names_of_files_are_plain(
    found: dict[str, Any], tmp_path: Path, name: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        export_subnet.main([*found['arguments'], '--out-dir', str(tmp_path / 'in' / 'out'), f'--name={name}'])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f'--name: got {name!r}, allowed: 1 to 200 letters')
    assert not list(tmp_path.iterdir())


SEARCHED_GLIT = {
    'type': 'mmhybrid.GLiT',
    'arch': {'embed_dims': 24, 'num_heads': 3, 'blocks': [{'num_attn_heads': 3, 'qkv_ratio': 1, 'mlp_ratio': 2}]},
}


@pytest.mark.parametrize(
    ('target', 'patch_size', 'strides'),
    [
        ('glit/retinanet_glit_tiny_1x_coco', 8, 'model.bbox_head.anchor_generator.strides = [8, 16, 32, 64, 128]'),
        ('glit/mask-rcnn_glit_tiny_1x_coco', 8, 'model.rpn_head.anchor_generator.strides = [4, 8, 16, 32, 64]'),
        ('glit/mask-rcnn_glit_tiny_1x_coco', 32, 'model.rpn_head.anchor_generator.strides'),
        ('glit/retinanet_glit_tiny_1x_coco', None, None),
        ('glit/retinanet_glit_tiny_1x_coco', 16, None),
        ('glit/upernet_glit_tiny_160k_ade20k', 8, None),
        ('glit/glit_tiny_in1k', 8, None),
    ],
)
def test_strides_of_another_patch_size_are_refused(
    target: str, patch_size: int | None, strides: str | None, tmp_path: Path
) -> None:
    """Anchors would lie where nobody looks; a segmentor and a classifier count in no strides."""
    patches = {} if patch_size is None else {'patch_size': patch_size}
    backbone = {**SEARCHED_GLIT, **patches}
    network = Standalone({'type': 'ImageClassifier'}, None, backbone, (24,), {}, 0.0, 1.0, 1.0)
    config = str(ROOT / f'configs/{target}.py')
    if strides is None:
        written = write_host_config(network, config, tmp_path, 'best')
        assert written.is_file()
        return
    with pytest.raises(ValueError, match=re.escape(f'{strides}')) as caught:
        write_host_config(network, config, tmp_path, 'best')
    assert f'those of patches of 16 pixels, and the searched network has patches of {patch_size};' in str(caught.value)
    assert not list(tmp_path.iterdir())
