"""Test-time augmentation averages an image and its mirror image."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import MODELS, DefaultScope

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
