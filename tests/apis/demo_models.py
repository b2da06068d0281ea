"""Demo models with weights that find something, photographs, and what the hosts' own inference finds in them."""

import re
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

CONFIGS = Path(__file__).parents[2] / 'configs/demo'
SIZES = [(128, 128), (90, 200), (240, 97)]
SEMANTIC_FPN = {
    'model.decode_head': {
        '_delete_': True,
        'type': 'FPNHead',
        'in_channels': [32] * 4,
        'in_index': [0, 1, 2, 3],
        'feature_strides': [4, 8, 16, 32],
        'channels': 32,
        'num_classes': 9,
        'norm_cfg': {'type': 'BN'},
    },
    'model.neck': {'type': 'FPN', 'in_channels': [32, 64, 96, 128], 'out_channels': 32, 'num_outs': 4},
    'model.auxiliary_head': None,
}


def write_photographs(folder):
    """Smooth pictures of several sizes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    paths = [folder / f'{height}x{width}.png' for height, width in SIZES]
    for path, (height, width) in zip(paths, SIZES, strict=True):
        coarse = random.integers(0, 256, (7, 9, 3), np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
        cv2.imwrite(str(path), (picture + random.integers(-9, 10, picture.shape)).clip(0, 255).astype(np.uint8))
    return paths


def make_certain(model):
    """Weights with which a model is sure of some things and less of others."""
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.normal_(std=(2 / weight[0].numel()) ** 0.5, generator=generator)
    model.eval()
    for last, place, std in ((r'(retina|rtm)_cls', 0, 1.5), (r'(retina|rtm)_reg', 1, 0.3)):
        layers = [layer for name, layer in model.named_modules() if re.search(last + r'(\.\d)?$', name)]
        layers = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]  # one, or one for each level
        for layer in layers:
            layer.bias.data.zero_()
        if layers:
            with torch.no_grad():
                outputs = model(torch.randn(1, 3, 128, 128, generator=generator), mode='tensor')[place]
            if 'rtm_reg' in ''.join(name for name, _ in model.named_modules()) and place == 1:
                outputs = [level.log() for level in outputs]  # distances, of which the layers give the logarithms
            for layer, level in zip(layers, outputs if len(layers) > 1 else [outputs[0]], strict=True):
                layer.weight.data.mul_(std / level[level.isfinite()].std())
                layer.bias.data.fill_(-2.0 if place == 0 else 0.0)
    return model


def build(name, changes=()):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.merge_from_dict(dict(changes))
    init_default_scope(cfg.default_scope)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
    model.cfg = cfg
    return cfg, make_certain(model)


def inferred(model, path):
    """What the host's own inference finds in a photograph."""
    if hasattr(model, 'bbox_head'):
        from mmdet.apis import inference_detector

        return inference_detector(model, str(path))
    from mmseg.apis import inference_model

    return inference_model(model, str(path))


def with_multiple(cfg, model):
    """A segmentor's config whose test images have sides of multiples of 32, also for the host's own inference."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    multiple = {'type': 'ResizeToMultiple', 'size_divisor': 32}
    cfg.test_dataloader.dataset.pipeline = [*pipeline[:2], multiple, *pipeline[2:]]
    model.cfg = Config({'test_pipeline': [*pipeline[:2], multiple, pipeline[-1]]})
    model.cfg.test_dataloader = {'dataset': {'pipeline': model.cfg.test_pipeline}}
    return cfg
