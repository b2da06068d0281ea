"""An exported file has the score of the network that it was written from, on data that the network half knows."""

import json
import re
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from demo_models import SEMANTIC_FPN, build, inferred, with_multiple, write_photographs
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import MODELS, init_default_scope
from small_classifier import small_classifier

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.runtimes import open_network
from mmhybrid.apis.testing import evaluate
from mmhybrid.commands.export import main as export_tool
from mmhybrid.commands.test import main as evaluation
from mmhybrid.torch_api import EXPORTING
from mmhybrid.utils.errors import CannotGoOnError

pytestmark = pytest.mark.torch_since(*EXPORTING)
CONFIG = small_classifier(
    num_classes=4,
    mean=[128, 120, 110],
    std=[64, 60, 55],
    batch_size=5,
    dataset="classes=['a', 'b', 'c', 'd'], ann_file='labels.txt',",
    transform="dict(type='CenterCrop', crop_size=64), ",
)


def score(config, file, *arguments):
    """The metrics that ``tools/test.py`` writes into its log, and the predictions."""
    work_dir = Path(tempfile.mkdtemp(dir='.'))
    evaluation([config, file, *arguments, '--work-dir', str(work_dir), '--out', 'found.pkl'])
    (log,) = work_dir.glob('*/*.json')
    return json.loads(log.read_text().splitlines()[-1]), load('found.pkl')


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    """A folder with a classifier, images and labels of which it knows two of three, and the network as ONNX."""
    folder, random = tmp_path_factory.mktemp('classifier'), np.random.default_rng(0)
    (folder / 'config.py').write_text(CONFIG)
    (folder / 'images').mkdir()
    cfg = Config.fromfile(folder / 'config.py')
    init_default_scope('mmpretrain')
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor}).eval()
    for weight in model.parameters():
        weight.data.normal_(std=0.3, generator=torch.Generator().manual_seed(1)) if weight.dim() > 1 else weight
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, folder / 'weights.pth')
    lines = []
    for place in range(12):
        image = cv2.resize(random.integers(0, 256, (4, 4, 3), np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'images/{place}.png'), image)
        data = model.data_preprocessor({'inputs': [torch.from_numpy(image).permute(2, 0, 1)]}, False)
        with torch.no_grad():
            known = int(model(data['inputs'], mode='tensor').argmax())
        lines.append(f'{place}.png {known if place % 3 else (known + 1) % 4}')
    (folder / 'images/labels.txt').write_text('\n'.join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        export_tool(['config.py', '--checkpoint', 'weights.pth', '--out', 'a.onnx', '--format', 'onnx', '--batch', '2'])
    return folder


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_top_1(classifier, runtime, monkeypatch):
    """Of batches that are not a multiple of the file's."""
    pytest.importorskip(runtime)
    monkeypatch.chdir(classifier)
    expected, samples = score('config.py', 'weights.pth')
    assert expected['accuracy/top1'] == pytest.approx(100 * 2 / 3)
    assert len({int(sample['pred_label']) for sample in samples}) > 1
    found, others = score('config.py', 'a.onnx', '--runtime', runtime)
    assert found['accuracy/top1'] == expected['accuracy/top1']
    for one, other in zip(samples, others, strict=True):
        torch.testing.assert_close(other['pred_score'], one['pred_score'], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (("'c', 'd'", "'c', 'e'"), 'a.onnx: classes: the file has 4, a, b, c, ..., the config 4, a, b, c, ...'),
        (('110]', '111]'), r'a.onnx: mean: the file has \[128.0, 120.0, 110.0\], the config \[128.0, 120.0, 111.0\]'),
        (('to_rgb=True', 'to_rgb=False'), 'a.onnx: channel_order: the file has RGB, the config BGR'),
        (('crop_size=64', 'crop_size=96'), 'a.onnx: resolution: the file has 64 x 64, the config 96 x 96'),
    ],
)
def test_a_file_of_something_else_is_refused(classifier, change, word, monkeypatch):
    monkeypatch.chdir(classifier)
    text = CONFIG.replace(*change)
    assert text != CONFIG
    Path('other.py').write_text(text)
    cfg = load_config('other.py')
    cfg.load_from = None
    with pytest.raises(ValueError, match=word):
        evaluate(cfg, network=open_network('a.onnx', 'onnxruntime'))


@pytest.mark.parametrize(
    ('name', 'content', 'runtime', 'word'),
    [
        ('none.onnx', None, 'onnxruntime', 'none.onnx is not a file'),
        ('a.txt', b'', 'openvino', r"file: got 'a.txt', allowed: a name ending in .onnx or .xml"),
        ('b.onnx', b'\x08\x01', 'onnxruntime', 'b.onnx cannot be read'),
        ('b.onnx', b'nonsense', 'openvino', 'b.onnx cannot be read'),
    ],
)
def test_files_that_are_none(name, content, runtime, word, tmp_path, monkeypatch):
    pytest.importorskip(runtime)
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(ValueError, match=word):
        open_network(name, runtime)


def test_a_file_that_says_nothing_of_itself_is_refused(classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(classifier)
    onnx = pytest.importorskip('onnx')
    model = onnx.load('a.onnx')
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'bare.onnx')
    with pytest.raises(ValueError, match=r'bare\.onnx does not say which images it takes'):
        evaluate(load_config('config.py'), network=open_network(tmp_path / 'bare.onnx', 'onnxruntime'))


def test_an_image_of_another_size(classifier, monkeypatch):
    monkeypatch.chdir(classifier)
    Path('other.py').write_text(CONFIG.replace("dict(type='CenterCrop', crop_size=64), ", ''))
    cv2.imwrite('images/0.png', np.zeros((32, 64, 3), np.uint8))
    cfg = load_config('other.py')
    cfg.test_dataloader.batch_size = 1
    with pytest.raises(CannotGoOnError, match=re.escape("an image of the data: got '32 x 64', allowed: 64 x 64")):
        evaluate(cfg, network=open_network('a.onnx', 'onnxruntime'))


def test_command_line(capsys):
    with pytest.raises(SystemExit):
        evaluation(['config.py', 'a.onnx', '--runtime', 'onnxruntime', '--tta'])
    assert '--runtime: not allowed with --tta and --deploy' in capsys.readouterr().err


def exported(config, checkpoint, *arguments):
    """An end-to-end file."""
    export_tool([config, '--checkpoint', checkpoint, '--out', 'a.onnx', '--format', 'onnx', '--end-to-end', *arguments])
    return 'a.onnx'


def demo(name, folder, changes):
    """A demo config on photographs of three sizes, with the weights of a model that is sure of some things."""
    cfg, model = build(name, changes)
    images = write_photographs(folder / 'images')
    cfg.dump('config.py')
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, 'weights.pth')
    return cfg, model, images


@pytest.mark.slow
@pytest.mark.dense
@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_average_precision(runtime, tmp_path, monkeypatch):
    """What is annotated is every second box that the detector finds, moved by some pixels."""
    pytest.importorskip(runtime)
    monkeypatch.chdir(tmp_path)
    location = {'data_root': str(tmp_path), 'ann_file': 'boxes.json', 'data_prefix': {'img': 'images'}}
    changes = {f'test_dataloader.dataset.{key}': value for key, value in location.items()}
    changes |= {'test_dataloader.num_workers': 0, 'test_dataloader.persistent_workers': False}
    cfg, model, images = demo('glnet_retinanet', tmp_path, {**changes, 'test_evaluator.ann_file': 'boxes.json'})
    annotations, random = [], np.random.default_rng(0)
    for place, path in enumerate(images):
        found = inferred(model, path).pred_instances[::2]
        for box, label in zip(found.bboxes.numpy(), found.labels.tolist(), strict=True):
            x, y, right, bottom = (box + random.uniform(-2, 2, 4)).tolist()
            bbox = [x, y, max(right - x, 1), max(bottom - y, 1)]
            outline = [x, y, x + bbox[2], y, x + bbox[2], y + bbox[3], x, y + bbox[3]]
            about = {'id': len(annotations) + 1, 'image_id': place, 'iscrowd': 0, 'area': bbox[2] * bbox[3]}
            annotations.append({**about, 'category_id': label, 'bbox': bbox, 'segmentation': [outline]})
    shapes = [cv2.imread(str(path)).shape for path in images]
    listed = [
        {'id': place, 'file_name': path.name, 'height': shape[0], 'width': shape[1]}
        for place, (path, shape) in enumerate(zip(images, shapes, strict=True))
    ]
    categories = [{'id': place, 'name': name} for place, name in enumerate(cfg.classes)]
    Path('boxes.json').write_text(json.dumps({'images': listed, 'annotations': annotations, 'categories': categories}))
    expected, _ = score('config.py', 'weights.pth')
    assert 0.05 < expected['coco/bbox_mAP'] < 0.95
    found, _ = score('config.py', exported('config.py', 'weights.pth', '--dynamic', 'size'), '--runtime', runtime)
    for name in ('bbox_mAP', 'bbox_mAP_50', 'bbox_mAP_75'):
        assert found[f'coco/{name}'] == pytest.approx(expected[f'coco/{name}'], abs=0.002)


@pytest.mark.slow
@pytest.mark.dense
@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_mean_intersection_over_union(runtime, tmp_path, monkeypatch):
    """What is annotated is what the segmentor finds, and one class in a third of each image."""
    pytest.importorskip(runtime)
    monkeypatch.chdir(tmp_path)
    changes = {'test_dataloader.dataset.data_root': str(tmp_path)}
    changes |= {'test_dataloader.dataset.data_prefix': {'img_path': 'images', 'seg_map_path': 'maps'}}
    changes |= {'test_dataloader.dataset.img_suffix': '.png', 'test_dataloader.num_workers': 0}
    changes |= {'test_dataloader.persistent_workers': False, **SEMANTIC_FPN}
    cfg, model, images = demo('glnet_seg', tmp_path, changes)
    cfg = with_multiple(cfg, model)
    cfg.dump('config.py')
    Path('maps').mkdir()
    for path in images:
        classes = inferred(model, path).pred_sem_seg.data[0].numpy().astype(np.uint8)
        classes[: len(classes) // 3] = 3
        cv2.imwrite(f'maps/{path.name}', classes + 1)  # 0 is not a class
    expected, _ = score('config.py', 'weights.pth')
    assert 5 < expected['mIoU'] < 95
    found, _ = score('config.py', exported('config.py', 'weights.pth', '--dynamic', 'size'), '--runtime', runtime)
    for name in ('mIoU', 'aAcc', 'mAcc'):
        assert found[name] == pytest.approx(expected[name], abs=0.1)
