"""The benchmark of int8 says of each file what it takes and how near it is."""

import json
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmhybrid.models.build import build_model
from mmhybrid.torch_api import EXPORTING

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'
CONFIG = """
custom_imports = dict(imports=['mmhybrid'], allow_failed_imports=False)
default_scope = 'mmpretrain'
arch = dict(embed_dims=[32] * 4, depths=[1] * 4, ffn_ratios=[1] * 4, mixers=['glmix', 'local', 'local', 'mhsa'],
            local_kernels=[3] * 4, num_slots=[16] * 4)
model = dict(type='ImageClassifier', backbone=dict(type='mmhybrid.GLNet', arch=arch),
             neck=dict(type='GlobalAveragePooling'), head=dict(type='LinearClsHead', num_classes=2, in_channels=32))
data_preprocessor = dict(num_classes=2, mean=[120] * 3, std=[60] * 3, to_rgb=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='CenterCrop', crop_size=64), dict(type='PackInputs')]
train_dataloader = dict(batch_size=2, dataset=dict(type='CustomDataset', data_root='train', pipeline=pipeline))
test_dataloader = dict(batch_size=2, dataset=dict(type='CustomDataset', data_root='val', pipeline=pipeline))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    random = np.random.default_rng(0)
    for part in ('train', 'val'):
        for name in ('a', 'b'):
            Path(part, name).mkdir(parents=True)
            for place in range(9):
                cv2.imwrite(f'{part}/{name}/{place}.png', random.integers(0, 256, (70, 80, 3), np.uint8))
    Path('config.py').write_text(CONFIG)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(Config.fromfile('config.py'))
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, 'weights.pth')
    return tmp_path


@pytest.mark.slow
@pytest.mark.torch_since(*EXPORTING)
def test_figures_of_presets_and_trained_networks(folder, capsys):
    pytest.importorskip('openvino')
    quantized = import_module('quantized')
    threads = torch.get_num_threads()
    arguments = ['--images', '.', '--presets', 'AutoViT-xxs', '--trained', 'config.py', 'weights.pth', '--rounds', '1']
    try:
        quantized.main([*arguments, '--json', 'figures.json'])
    finally:
        torch.set_num_threads(threads)
    figures = json.loads(Path('figures.json').read_text())
    for key in ('AutoViT-xxs.int8.onnxruntime', 'config.int8 but first.openvino'):
        assert figures[f'{key}.cpu_ms'] > 0
        assert 0 < figures[f'{key}.error'] < 0.2
    assert figures['config.float32.onnxruntime.error'] == 0
    assert figures['config.float32.between_runtimes'] < 1e-3
    assert figures['config.int8.megabytes'] < figures['config.float32.megabytes']
    assert 0 <= figures['config.int8.openvino.top1'] <= 100
    assert 'AutoViT-xxs' in capsys.readouterr().out


def test_arguments(folder, capsys):
    quantized = import_module('quantized')
    for wrong, told in (([], 'give --images DIR'), (['--images', 'none'], 'allowed: a folder with train and val')):
        with pytest.raises(SystemExit):
            quantized.main(wrong)
        assert told in capsys.readouterr().err


def test_photographs_are_normalised_and_square(folder):
    quantized = import_module('quantized')
    found = quantized.photographs(Path('train'), 5, 32, (120.0,) * 3, (60.0,) * 3)
    assert found.shape == (5, 3, 32, 32)
    assert found.abs().max() <= 135 / 60
