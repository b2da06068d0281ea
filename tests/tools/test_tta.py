"""Test-time augmentation merges what is predicted for an image and its mirror image."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import MODELS, DefaultScope

from mmhybrid.apis.configs import load_config
from mmhybrid.datasets.demo_data import make_demo_data

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
custom_imports = dict(imports=['mmhybrid'], allow_failed_imports=False)
default_scope = 'mmpretrain'
arch = dict(embed_dims=[32] * 4, depths=[1] * 4, ffn_ratios=[1] * 4, mixers=['glmix', 'local', 'local', 'mhsa'],
            local_kernels=[3] * 4, num_slots=[16] * 4)
model = dict(type='ImageClassifier', backbone=dict(type='mmhybrid.GLNet', arch=arch),
             neck=dict(type='GlobalAveragePooling'), head=dict(type='LinearClsHead', num_classes=2, in_channels=32))
data_preprocessor = dict(num_classes=2, mean=[128] * 3, std=[64] * 3, to_rgb=True)
test_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(
    type='CustomDataset', data_root='images', pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
test_evaluator = dict(type='Accuracy', topk=1)
test_cfg = dict()
"""


def test_scores_of_both_sides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('config.py').write_text(CONFIG)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    for label, image in enumerate(images):
        Path('images', str(label)).mkdir(parents=True)
        cv2.imwrite(f'images/{label}/image.png', image)
    torch.manual_seed(0)
    cfg = Config.fromfile('config.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor}).eval()
    torch.save({'state_dict': model.state_dict()}, 'weights.pth')
    main = runpy.run_path(str(ROOT / 'tools/test.py'))['main']
    main(['config.py', 'weights.pth', '--tta', '--out', 'predictions.pkl'])
    found = [item['pred_score'] for item in load('predictions.pkl')]
    with torch.no_grad():
        both = [
            model(
                ((torch.from_numpy(side.copy()).permute(0, 3, 1, 2).flip(1).float() - 128) / 64), mode='tensor'
            ).softmax(-1)
            for side in (images, images[:, :, ::-1])
        ]
    assert not torch.allclose(both[0], both[1], atol=1e-4)
    torch.testing.assert_close(torch.stack(found), (both[0] + both[1]) / 2, rtol=1e-4, atol=1e-5)


def predictions(data: Path, config: str, options: list[str]) -> list[dict]:
    """What the tool predicts for two scenes with weights at random."""
    torch.manual_seed(0)
    cfg = load_config(str(ROOT / config))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    torch.save({'state_dict': model.state_dict()}, 'weights.pth')
    loader = f'test_dataloader.dataset.data_root={data} test_dataloader.num_workers=0'
    fixed = [*loader.split(), 'test_dataloader.persistent_workers=False', 'log_level=WARNING', *options]
    main = runpy.run_path(str(ROOT / 'tools/test.py'))['main']
    main([str(ROOT / config), 'weights.pth', '--tta', '--out', 'predictions.pkl', '--cfg-options', *fixed])
    return load('predictions.pkl')


def turn(folder: Path, step: int) -> None:
    """Write images anew without loss, mirrored with a step of -1; their names end in .jpg all the same."""
    for path in folder.iterdir():
        path.write_bytes(cv2.imencode('.png', cv2.imread(str(path))[:, ::step])[1].tobytes())


@pytest.mark.dense
def test_boxes_of_both_sides(tmp_path, monkeypatch):
    """A mirrored image has the mirrored boxes, which no single pass of a network gives."""
    monkeypatch.chdir(tmp_path)
    make_demo_data(tmp_path / 'data', num_train=1, num_val=2, size=64)
    coco = tmp_path / 'data/coco'
    turn(coco / 'val2017', 1)
    options = [f'test_evaluator.ann_file={coco}/annotations/instances_val2017.json', 'model.test_cfg.score_thr=0.0']
    before = predictions(coco, 'configs/demo/autovit_retinanet.py', options)
    turn(coco / 'val2017', -1)
    after = predictions(coco, 'configs/demo/autovit_retinanet.py', options)
    for one, other in zip(before, after, strict=True):
        boxes, scores = one['pred_instances']['bboxes'][:5], one['pred_instances']['scores'][:5]
        assert len(boxes) == 5
        width = one['ori_shape'][1]
        mirrored = torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), dim=1)
        found = other['pred_instances']
        torch.testing.assert_close(found['scores'][:5], scores, rtol=1e-4, atol=1e-6)
        distances = (found['bboxes'][:, None] - mirrored).abs().amax(-1)
        assert distances.amin(0).max() < 0.05


@pytest.mark.dense
def test_masks_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / 'tools/test.py'))['main']
    with pytest.raises(SystemExit):
        main([str(ROOT / 'configs/demo/autovit_det.py'), 'weights.pth', '--tta'])
    assert '--tta: MMDetection merges boxes, not the masks of this model' in capsys.readouterr().err


@pytest.mark.dense
@pytest.mark.parametrize('pipeline', ['of the config', 'mirrored'])
def test_pixels_of_both_sides(tmp_path, monkeypatch, pipeline):
    """The labels stay those of the image as it is, with the config's own versions and with ours."""
    monkeypatch.chdir(tmp_path)
    make_demo_data(tmp_path / 'data', num_train=1, num_val=2, size=64)
    ade = tmp_path / 'data/ade'
    config = ROOT / 'configs/demo/autovit_seg.py'
    if pipeline == 'mirrored':
        Path('plain.py').write_text(f'_base_ = [{str(config)!r}]\ntta_pipeline = None\n')
        config = tmp_path / 'plain.py'
    found = predictions(ade, str(config), [])
    for one in found:
        labels = cv2.imread(one['seg_map_path'], cv2.IMREAD_UNCHANGED)
        truth = torch.from_numpy(np.where(labels == 0, 255, labels - 1))
        assert torch.equal(one['gt_sem_seg']['data'][0].long(), truth.long())
