"""Batch statistics of the backbones in dense recipes: fixed in detection, of all ranks together in segmentation."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.model import convert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhybrid.apis.configs import load_config
from mmhybrid.models.build import on_meta
from mmhybrid.registry import MODELS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]
DETECTION = sorted((ROOT / 'configs').glob('*/*_coco.py'))
SEGMENTATION = sorted((ROOT / 'configs').glob('*/*_ade20k.py'))
pytestmark = pytest.mark.dense


def backbone(path: Path) -> tuple[nn.Module, list[_BatchNorm]]:
    with on_meta():
        model = MODELS.build({'_scope_': 'mmhybrid', **load_config(str(path)).model.backbone})
    return model, [module for module in model.modules() if isinstance(module, _BatchNorm)]


@pytest.mark.parametrize('path', DETECTION, ids=lambda path: path.stem)
def test_statistics_are_fixed_in_detection_and_scales_train(path: Path) -> None:
    model, norms = backbone(path)
    model.train()
    assert norms
    assert model.training
    assert not any(norm.training for norm in norms)
    assert all(norm.weight.requires_grad and norm.bias.requires_grad for norm in norms)


@pytest.mark.parametrize('path', SEGMENTATION, ids=lambda path: path.stem)
def test_statistics_are_synchronised_in_segmentation(path: Path) -> None:
    model, norms = backbone(path)
    converted = convert_sync_batchnorm(model.train(), load_config(str(path)).sync_bn)
    found = [module for module in converted.modules() if isinstance(module, _BatchNorm)]
    assert len(found) == len(norms) > 0
    assert all(isinstance(norm, nn.SyncBatchNorm) and norm.training for norm in found)


@pytest.mark.parametrize(('height', 'width'), [(512, 683), (375, 500), (1000, 300)])
def test_semantic_fpn_sees_whole_multiples_of_32(tmp_path: Path, height: int, width: int) -> None:
    """The short side at 512, the long one at 2048 at most, both then up to the next multiple (AlignResize)."""
    cv2.imwrite(str(tmp_path / 'image.png'), np.zeros((height, width, 3), np.uint8))
    cfg = load_config(str(ROOT / 'configs/glnet/semantic-fpn_glnet_9g_80k_ade20k.py'))
    results = {'img_path': str(tmp_path / 'image.png')}
    with DefaultScope.overwrite_default_scope('mmseg'):
        for step in cfg.test_dataloader.dataset.pipeline:
            if step.type not in ('LoadAnnotations', 'PackSegInputs'):
                results = TRANSFORMS.build({'_scope_': 'mmseg', **step})(results)
    scale = min(512 / min(height, width), 2048 / max(height, width))
    expected = tuple(-(-int(side * scale + 0.5) // 32) * 32 for side in (height, width))
    assert results['img'].shape[:2] == results['img_shape'] == expected
