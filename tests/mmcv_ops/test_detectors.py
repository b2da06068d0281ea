"""Detectors of MMDetection with its own backbones train and predict on whatever operators there are."""

import importlib

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmhybrid  # noqa: F401  provides mmcv._ext where MMCV has none

pytestmark = pytest.mark.dense
CONFIGS = {
    'swin': 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    'convnext': 'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
    'resnet': 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
}


@pytest.mark.parametrize('name', ['resnet', *(pytest.param(n, marks=pytest.mark.slow) for n in ('swin', 'convnext'))])
def test_detectors_of_mmdetection_train_and_predict(name: str) -> None:
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs

    importlib.import_module('mmcv._ext')
    cfg = Config.fromfile(Config._get_cfg_path(CONFIGS[name], '')[0])
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None  # nothing is downloaded
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    packed = demo_mm_inputs(2, [[3, 128, 128], [3, 120, 96]], with_mask=True)
    data = model.data_preprocessor(packed, True)
    losses = model(**data, mode='loss')
    total, parts = model.parse_losses(losses)
    assert {'loss_cls', 'loss_bbox'} <= parts.keys()
    assert torch.isfinite(total)
    total.backward()
    parts_with_gradients = {
        parameter_name.partition('.')[0]
        for parameter_name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert {'backbone', 'neck'} < parts_with_gradients
    head = 'mask_head' if name != 'resnet' else 'bbox_head'
    assert any(head in n and p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters())
    model.eval()
    with torch.no_grad():
        predictions = model(**model.data_preprocessor(packed, False), mode='predict')
    for prediction in predictions:
        found = prediction.pred_instances
        assert torch.isfinite(found.bboxes).all()
        assert (found.scores[:-1] >= found.scores[1:]).all()
        assert name == 'resnet' or tuple(found.masks.shape[1:]) == tuple(prediction.ori_shape)
