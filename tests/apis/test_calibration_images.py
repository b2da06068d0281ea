"""Ranges of int8 files come from training images, as the config tests them, and from none of the test set."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_classifier import small_classifier

from mmhybrid.apis.calibration_images import calibration_images
from mmhybrid.apis.configs import load_config
from mmhybrid.apis.runtimes import open_network
from mmhybrid.commands.export import main as export_tool
from mmhybrid.commands.test import main as evaluation
from mmhybrid.models.build import build_model
from mmhybrid.torch_api import EXPORTING

CONFIG = small_classifier(
    num_classes=4,
    mean=[128, 120, 110],
    std=[64, 60, 55],
    batch_size=5,
    dataset="classes=['a', 'b', 'c', 'd'], ann_file='labels.txt',",
    transform="dict(type='CenterCrop', crop_size=64), ",
)
TRAINING = """
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True), dataset={dataset})
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(max_epochs=1)
"""
IMAGES = (
    "dict(type='CustomDataset', data_root='{folder}', classes=['a', 'b', 'c', 'd'], ann_file='labels.txt', "
    "pipeline=[dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=1.0), dict(type='PackInputs')])"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images of a test set and, darker from one to the next, of a training set."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name, count in (('images', 6), ('train', 4)):
        Path(name).mkdir()
        for place in range(count):
            image = random.integers(0, 256 >> place, (70, 80, 3), np.uint8)
            cv2.imwrite(f'{name}/{place}.png', image)
        Path(name, 'labels.txt').write_text('\n'.join(f'{place}.png {place % 4}' for place in range(count)))
    return tmp_path


def config(dataset):
    Path('config.py').write_text(CONFIG + TRAINING.format(dataset=dataset))
    return load_config('config.py')


def images_of(cfg, count, shape=(64, 64)):
    return calibration_images(cfg, build_model(cfg), count, shape)


@pytest.mark.parametrize(
    'dataset',
    [
        IMAGES,
        "dict(type='RepeatDataset', times=3, dataset=" + IMAGES + ')',
        "dict(type='ConcatDataset', datasets=[" + IMAGES + '])',
    ],
)
def test_are_training_images_behind_the_test_pipeline(dataset, folder):
    found = images_of(config(dataset.format(folder='train')), 4)
    mean, std = np.array([128, 120, 110]), np.array([64, 60, 55])
    expected = []
    for place in range(4):
        image = cv2.imread(f'train/{place}.png')[3:67, 8:72, ::-1]
        expected.append(((image - mean) / std).transpose(2, 0, 1))
    order = [min(range(4), key=lambda place, one=one: np.abs(one.numpy() - expected[place]).max()) for one in found]
    assert sorted(order) == [0, 1, 2, 3]
    np.testing.assert_allclose(found.numpy(), [expected[place] for place in order], atol=1e-5)
    assert torch.equal(found, images_of(config(dataset.format(folder='train')), None))


def test_of_another_size_are_resized(folder):
    cfg = config(IMAGES.format(folder='train'))
    small = images_of(cfg, 4, (32, 16))
    assert small.shape == (4, 3, 32, 16)
    torch.testing.assert_close(small.mean((2, 3)), images_of(cfg, 4).mean((2, 3)), atol=0.2, rtol=0)


def test_that_cannot_be(folder):
    cfg = config(IMAGES.format(folder='train'))
    with pytest.raises(ValueError, match='calibration images: got 5, allowed: an int from 1 to 4'):
        images_of(cfg, 5)
    del cfg._cfg_dict['train_dataloader']
    with pytest.raises(ValueError, match='dtype int8: the config has no train_dataloader'):
        images_of(cfg, 4)


def test_none_of_the_test_set(folder):
    cfg = config(IMAGES.format(folder='images'))
    with pytest.raises(
        ValueError, match=r'train_dataloader.*: 4 of its images are in the test set.*a calibration must'
    ):
        images_of(cfg, 4)


@pytest.mark.torch_since(*EXPORTING)
def test_the_tool_writes_what_is_scored(folder):
    pytest.importorskip('onnxruntime')
    cfg = config(IMAGES.format(folder='train'))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save({'state_dict': build_model(cfg).state_dict(), 'meta': {}}, 'weights.pth')
    export = ['config.py', '--checkpoint', 'weights.pth', '--format', 'onnx', '--out']
    export_tool([*export, 'float.onnx'])
    export_tool([*export, 'int8.onnx', '--dtype', 'int8', '--calibration-images', '3'])
    export_tool([*export, 'half.onnx', '--dtype', 'float16'])
    files = {name: open_network(f'{name}.onnx', 'onnxruntime') for name in ('float', 'half', 'int8')}
    assert [file.metadata['dtype'] for file in files.values()] == ['float32', 'float16', 'int8']
    assert 'but products, last, MinMax over 3 training images' in files['int8'].metadata['quantization']
    image = images_of(cfg, 1).numpy()
    (expected,), (half,), (found,) = (file.run(image).values() for file in files.values())
    assert 0 < np.linalg.norm(half - expected) / np.linalg.norm(expected) < 0.01
    assert 0 < np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.1
    for file in files.values():
        file.close()
    scores = {}
    for name in ('float', 'int8'):
        evaluation(['config.py', f'{name}.onnx', '--runtime', 'onnxruntime', '--work-dir', name])
        (log,) = Path(name).glob('*/*.json')
        scores[name] = json.loads(log.read_text().splitlines()[-1])['accuracy/top1']
    assert abs(scores['float'] - scores['int8']) <= 100 / 6


@pytest.mark.torch_since(*EXPORTING)
def test_what_is_kept_in_float(folder):
    """Weights that are kept take four bytes each."""
    pytest.importorskip('onnxruntime')
    config(IMAGES.format(folder='train'))
    sizes = []
    for kept in ([], ['products', 'last', 'depthwise', 'first']):
        export_tool(['config.py', '--format', 'onnx', '--out', 'int8.onnx', '--dtype', 'int8', '--keep-float', *kept])
        tensors = onnx_tensors('int8.onnx')
        sizes.append(sum(tensor.size for tensor in tensors if tensor.dtype == np.int8))
    assert 0 < sizes[1] < sizes[0]


def onnx_tensors(path):
    onnx = pytest.importorskip('onnx')
    return [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]


def test_the_tool_refuses(folder, capsys):
    config(IMAGES.format(folder='train'))
    for wrong, told in (
        (['--format', 'onnx', '--calibration-images', '3'], '--calibration-images: allowed with --dtype int8'),
        (['--format', 'onnx', '--keep-float', 'last'], '--keep-float: allowed with --dtype int8'),
        (['--format', 'onnx', '--dtype', 'int8', '--keep-float', 'half'], "invalid choice: 'half'"),
        (['--format', 'torchscript', '--dtype', 'int8'], "dtype: got 'int8', allowed: float32 for the format torchsc"),
        (['--format', 'onnx', '--dtype', 'int8', '--calibration-images', '0'], 'calibration images: got 0'),
    ):
        with pytest.raises(SystemExit):
            export_tool(['config.py', '--out', 'file', *wrong])
        assert told in capsys.readouterr().err
    assert not Path('file').exists()
