"""``tools/test.py --deploy`` scores the network that leaves, beside hooks that exchange weights around a test."""

import copy
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import MODELS, DefaultScope
from small_classifier import small_classifier
from torch import nn

from mmhybrid.engine import deploy
from mmhybrid.models.deployed import switch_to_deploy

ROOT = Path(__file__).resolve().parents[2]
CONFIG = (
    small_classifier(num_classes=2, mean=[128] * 3, std=[64] * 3, batch_size=2)
    + """
custom_hooks = [dict(type='EMAHook')]
"""
)


def test_scores_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('config.py').write_text(CONFIG)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    for label, image in enumerate(images):
        Path('images', str(label)).mkdir(parents=True)
        cv2.imwrite(f'images/{label}/image.png', image)
    cfg = Config.fromfile('config.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        weights = [MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor}) for _ in range(2)]
    for model in weights:
        for name, value in model.state_dict().items():
            value.uniform_(0.5, 1) if name.endswith('running_var') else value
    averaged = {f'module.{name}': value for name, value in weights[1].state_dict().items()}
    content = {'state_dict': weights[1].state_dict(), 'ema_state_dict': {**averaged, 'steps': torch.tensor(1)}}
    torch.save({**content, 'meta': {}}, 'weights.pth')
    deployed = []

    def watched(model):
        switch_to_deploy(model)
        deployed.append(copy.deepcopy(model))

    monkeypatch.setattr(deploy, 'switch_to_deploy', watched)
    main = runpy.run_path(str(ROOT / 'tools/test.py'))['main']
    main(['config.py', 'weights.pth', '--out', 'plain.pkl'])
    assert not deployed
    main(['config.py', 'weights.pth', '--deploy', '--out', 'deployed.pkl'])
    found, expected = ([item['pred_score'] for item in load(f'{name}.pkl')] for name in ('deployed', 'plain'))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert [len([m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]) for model in deployed] == [1]


def test_a_model_without_our_backbone_is_refused():
    with pytest.raises(ValueError, match='Linear has no backbone of mmhybrid'):
        switch_to_deploy(nn.Linear(1, 1))
