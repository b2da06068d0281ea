"""Studies of dense tasks: their images, backbones of equal cost, and where these begin."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from fresh_python import CONTEXT, environment_of
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmhybrid.apis.configs import load_config
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.models.build import build_model, on_meta

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'
DENSE = ('semantic-fpn', 'retinanet', 'mask-rcnn')


@pytest.fixture
def evidence(monkeypatch):
    """The modules of the program."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ('verdicts', 'judges', 'claims', 'rows', 'dense_images', 'dense_rows', 'runs', 'study', 'picture', 'page')
    return SimpleNamespace(**{name: import_module(f'evidence.{name}') for name in names})


@pytest.fixture
def place(evidence, tmp_path):
    """Where runs take place, with small frames and few scenes."""
    return evidence.runs.Place(tmp_path / 'images', tmp_path / 'out', write_frames(tmp_path / 'camvid'))


def write_frames(folder: Path, count: int = 110) -> Path:
    """Frames in the layout of CamVid, dark on the left and bright on the right, in classes 3 and 7; 255 at the top."""
    labels = np.full((60, 80), 3, np.uint8)
    labels[:, 40:] = 7
    pixels = np.repeat(np.where(labels == 3, 60, 190).astype(np.uint8)[..., None], 3, axis=-1)
    labels[:5] = 255
    for number in range(count):
        part = 'val' if number >= 80 else 'train'
        for kind, suffix, image in (('img_dir', 'jpg', pixels), ('ann_dir', 'png', labels)):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / part / f'drive_{number:03d}.{suffix}'), image)
    return folder


def test_a_seed_holds_successive_frames_out(evidence, place, tmp_path):
    """All frames are in one of the parts, those of a group in the same; labels keep their values when they shrink."""
    camvid, folder = place.camvid, tmp_path / 'shrunken'

    def numbers(part: str, seed: int) -> list[int]:
        lists = evidence.dense_images.shrunken_camvid(camvid, folder, 48, seed)
        return [int(name.removeprefix('drive_')) for name in lists[part].read_text().split()]

    held_out, rest = numbers('held_out', 0), numbers('train', 0)
    assert sorted(held_out + rest) == [*range(110)]
    groups = {number // 12 for number in held_out}
    assert len(groups) == 8
    assert not groups & {number // 12 for number in rest}
    assert held_out == numbers('held_out', 0) != numbers('held_out', 1)
    image, label = (cv2.imread(str(folder / kind / 'drive_100.png'), -1) for kind in ('images', 'labels'))
    assert (image.shape, label.shape) == ((48, 64, 3), (48, 64))
    assert {*np.unique(label)} == {3, 7, 255}
    with pytest.raises(ValueError, match=r'frames in .*img_dir: got 90, allowed: more than 96'):
        evidence.dense_images.shrunken_camvid(write_frames(tmp_path / 'few', 90), folder, 48, 0)


def test_frames_that_are_missing_are_told_by_the_program_itself(evidence, place, tmp_path):
    """Before a process is started."""
    row, *_ = evidence.dense_rows.DENSE_ROWS
    nowhere = evidence.runs.Place(place.data, place.folder, tmp_path / 'nowhere')
    run = evidence.runs.Run(evidence.runs.Network.of(row, 'EfficientNet-Lite0', nowhere), 0, nowhere)
    with pytest.raises(ValueError, match=r'frames in .*nowhere/img_dir: got 0'):
        list(evidence.runs.perform([run]))
    assert not run.folder.exists()


def test_a_seed_draws_its_own_scenes(evidence, place, monkeypatch):
    """A detector learns and is judged by them, whichever run comes first."""
    monkeypatch.setattr(evidence.dense_images, 'TRAIN_SCENES', 3)
    monkeypatch.setattr(evidence.dense_images, 'HELD_OUT_SCENES', 2)
    sizes = {}
    for seed in (0, 1, 0):
        cfg = load_config(str(evidence.runs.CONFIGS / 'retinanet_glnet_128px.py'))
        evidence.runs.put_images(cfg, place, seed)
        train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
        assert train.data_root == test.data_root
        assert cfg.test_evaluator.ann_file == f'{test.data_root}/{test.ann_file}'
        annotations = [Path(part.data_root, part.ann_file).read_text() for part in (train, test)]
        assert [len(json.loads(text)['images']) for text in annotations] == [3, 2]
        assert sizes.setdefault(seed, annotations) == annotations
    assert sizes[0] != sizes[1]


def test_backbones_of_a_row_cost_the_same(evidence):
    """Parameters within 3 % and multiply-accumulates within 10 %; the classifiers before have the same backbones."""
    for row in evidence.dense_rows.DENSE_ROWS:
        params, macs = [], []
        for name in row.compared:
            arm = row.arms[name]
            dense = load_config(str(evidence.runs.CONFIGS / row.config), arm.options)
            alone = load_config(str(evidence.runs.CONFIGS / arm.start.config), arm.start.options)
            own = alone.model.backbone.to_dict()
            assert {field: dense.model.backbone.to_dict().get(field) for field in own} == own, (row.name, name)
            with on_meta():
                backbone = build_model(dense).backbone
            params.append(sum(parameter.numel() for parameter in backbone.parameters()))
            macs.append(count_complexity(backbone, (3, 128, 128)).macs)
        assert max(params) < 1.03 * min(params), (row.name, params)
        assert max(macs) < 1.1 * min(macs), (row.name, macs)
        assert 1 / 6 < min(params) / 1e6 < 0.7


TOY = """
_base_ = ['CONFIGS/semantic-fpn_glnet_96px.py']
arch = dict(embed_dims=[32] * 4, depths=[1] * 4, ffn_ratios=[1] * 4, mixers=['glmix', 'local', 'local', 'mhsa'])
model = dict(backbone=dict(arch=dict(_delete_=True, **arch)), neck=dict(in_channels=[32] * 4))
train_dataloader = dict(dataset=dict(indices=16))
"""
TOY_CLASSIFIER = """
_base_ = ['CONFIGS/glnet_64px.py']
arch = dict(embed_dims=[32] * 4, depths=[1] * 4, ffn_ratios=[1] * 4, mixers=['glmix', 'local', 'local', 'mhsa'])
model = dict(backbone=dict(arch=dict(_delete_=True, **arch)), head=dict(num_classes=2, in_channels=32))
data_preprocessor = dict(num_classes=2)
images = dict(held_out=2, short_side=64)
train_dataloader = dict(batch_size=8, dataset=dict(**images))
test_dataloader = dict(dataset=dict(**images))
"""


def segment(benchmarks: str, folder: Path, images: Path, camvid: Path) -> None:
    """Train a toy's segmentor whose backbone does not learn, after its classifier."""
    sys.path.insert(0, benchmarks)
    claims, runs = (import_module(f'evidence.{name}') for name in ('claims', 'runs'))
    still = {'optim_wrapper.paramwise_cfg.custom_keys.backbone': {'lr_mult': 0.0, 'decay_mult': 0.0}}
    arm = claims.Arm(still, start=claims.Arm(config=str(folder / 'classifier.py')))
    row = claims.Row('toy', '', '', str(folder / 'segmentor.py'), {'toy': arm}, ())
    place = runs.Place(images, folder / 'out', camvid, options={'train_cfg.max_epochs': 1})
    run = runs.Run(runs.Network.of(row, 'toy', place), 0, place, keeps=True)
    told = [(done.network.name, done.result['score'], str(done.folder)) for done in runs.perform([run])]
    (folder / 'told.json').write_text(json.dumps(told))


def mean_iou(model: nn.Module, dataset: dict) -> float:
    """In percent, over the classes that are there or predicted."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        frames = DATASETS.build({**dataset, 'lazy_init': False})
        counts = np.zeros((11, 11))
        for frame in frames:
            found = model.eval().test_step(pseudo_collate([frame]))[0].pred_sem_seg.data[0].numpy()
            label = frame['data_samples'].gt_sem_seg.data[0].numpy()
            np.add.at(counts, (label[label < 11], found[label < 11]), 1)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    return 100 * float(np.mean((counts.diagonal() / np.maximum(union, 1))[union > 0]))


def test_a_segmentor_begins_with_the_weights_of_its_classifier(evidence, place, tmp_path):
    """And is scored by the mIoU of the frames that the seed holds out."""
    rng = np.random.default_rng(0)
    for label in range(2):
        (place.data / 'train' / f'n{label}').mkdir(parents=True)
        for number in range(10):
            noise = rng.integers(0, 100, (64, 64, 3)) + 100 * label
            cv2.imwrite(str(place.data / 'train' / f'n{label}' / f'{number}.png'), noise)
    for name, config in (('segmentor', TOY), ('classifier', TOY_CLASSIFIER)):
        (tmp_path / f'{name}.py').write_text(config.replace('CONFIGS', str(evidence.runs.CONFIGS)))
    arguments = (str(BENCHMARKS), tmp_path, place.data, place.camvid)
    process = CONTEXT.Process(target=segment, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    told = json.loads((tmp_path / 'told.json').read_text())
    assert [name for name, *_ in told] == ['start', 'toy']
    classifier, segmentor = (torch.load(Path(folder, 'weights.pt'))['state_dict'] for *_, folder in told)
    statistics = ('running_mean', 'running_var', 'num_batches_tracked')
    shared = [name for name in classifier if name in segmentor and not name.endswith(statistics)]
    assert {name for name in classifier if name.startswith('backbone.stages.')} <= {*segmentor}
    assert len(shared) > 30
    for name in shared:
        assert torch.equal(classifier[name], segmentor[name]), name
    cfg = load_config(str(tmp_path / 'segmentor.py'))
    evidence.runs.put_images(cfg, place, 0)
    model = build_model(cfg)
    model.load_state_dict(segmentor)
    assert told[1][1] == pytest.approx(mean_iou(model, cfg.test_dataloader.dataset), abs=0.006)  # two decimals


def test_a_bystander_has_a_mean_and_no_verdict(evidence):
    """On the page with the unit of the row, and not in the picture of differences."""
    verdicts = evidence.verdicts
    scores = {'a': [30.0, 31.0, 32.0], 'b': [20.0, 22.0, 21.0], 'c': [50.0, 51.0, 52.0]}
    claims = (verdicts.Ordering('a', 'b'), verdicts.Bystander('c'))
    row = evidence.rows.Row('toy', 'toys', 'nowhere', '', dict.fromkeys(scores), claims)
    assert row.compared == ['a', 'b']
    found = evidence.study.findings(scores, claims)
    study = {'about': {'metric': 'coco/bbox_mAP'}, 'findings': found}
    expected = verdicts.interval_of(scores['c'])
    line = f'| c, beside |  | 51.0 ({expected.low:.1f} to {expected.high:.1f}) AP |  | 3 | no claim |'
    page = evidence.page.render([row], {'toy': study})
    assert line in page
    assert ' AP | +10.0 (' in page
    svg = evidence.picture.differences([row], {'toy': study}).svg_file()
    assert b'toy: a &gt; b' in svg
    assert b'beside' not in svg


def test_metrics_are_percentages_of_the_hosts_own(evidence, monkeypatch):
    """AP is a share in MMDetection; accuracies and mIoU are percentages."""
    monkeypatch.setattr(evidence.judges, 'evaluate', lambda cfg: {'coco/bbox_mAP': 0.123, 'mIoU': np.float32(45.5)})
    for row, score in (('retinanet_glnet_128px.py', 12.3), ('semantic-fpn_glnet_96px.py', 45.5)):
        cfg = load_config(str(evidence.runs.CONFIGS / row))
        found = evidence.judges.score_of(cfg, 'weights.pt')
        assert json.loads(json.dumps(found)) == pytest.approx(score)
        assert cfg.load_from == 'weights.pt'


@pytest.mark.slow
def test_every_network_of_the_dense_rows_starts(place, evidence):
    """With EfficientNet-Lite0's published weights."""
    rng = np.random.default_rng(0)
    for label in range(10):
        (place.data / 'train' / f'n{label}').mkdir(parents=True)
        for number in range(102):  # a hundred are held out
            cv2.imwrite(str(place.data / 'train' / f'n{label}' / f'{number}.jpg'), rng.integers(0, 255, (70, 80, 3)))
    program = [sys.executable, str(BENCHMARKS / 'evidence/run.py'), *DENSE, '--rerun', '0', '--device', 'cpu']
    program += ['--data', str(place.data), '--camvid', str(place.camvid), '--dir', str(place.folder)]
    program += ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=16']
    done = subprocess.run(program, capture_output=True, text=True, env=environment_of())
    assert done.returncode == 0, done.stdout + done.stderr
    for row in evidence.dense_rows.DENSE_ROWS:
        for name in row.arms:
            assert f'{row.name}, {name}, seed 0: ' in done.stdout
