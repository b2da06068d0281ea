"""Calls of MMCV's operators as detectors make them, for compiled ones (`record.py`) and for the stand-in (the tests).

Each goes through ``mmcv.ops``, forward and, where there are gradients, backward; the last ones are whole detectors.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mmdet
import numpy as np
import torch
from mmcv import ops
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor

DTYPES = ('float32', 'float64', 'float16')


@dataclass(frozen=True)
class Case:
    """One call: its inputs, drawn from a generator, and what it returns for them."""

    name: str
    draw: Callable[[np.random.Generator], dict[str, np.ndarray]]
    run: Callable[..., dict[str, Tensor]]  # takes the inputs by name

    def inputs(self) -> dict[str, np.ndarray]:
        return self.draw(np.random.default_rng(zlib.crc32(self.name.encode())))


def cases() -> Iterator[Case]:
    yield from nms_cases()
    yield from roi_align_cases()
    yield from roi_pool_cases()
    yield from focal_loss_cases()
    yield from deform_conv_cases()
    yield from detector_cases()


def boxes_of(rng: np.random.Generator, count: int, size: float = 40.0) -> np.ndarray:
    """Boxes that overlap a lot, around a few centres."""
    centres = rng.uniform(0, size, (max(count // 6, 1), 2))[rng.integers(0, max(count // 6, 1), count)]
    corner = centres + rng.normal(0, 2, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(2, 14, (count, 2))], 1).astype('float32')


def draw_boxes(rng: np.random.Generator, count: int, kind: str = 'any') -> dict[str, np.ndarray]:
    boxes = boxes_of(rng, count)
    scores = rng.uniform(0, 1, count).astype('float32')
    if kind in ('pixels', 'ties'):  # overlaps are often exactly a threshold
        boxes = boxes.round()
    if kind == 'ties':
        scores = (scores * 4).round() / 4
    if kind == 'no area':
        boxes[::3, 2:] = boxes[::3, :2]
        boxes[1::3, 2] -= 20
    return {'boxes': boxes, 'scores': scores, 'classes': rng.integers(0, 4, count)}


def draw_edge(rng: np.random.Generator, overlap: float) -> dict[str, np.ndarray]:
    """Two pairs of boxes that overlap by exactly ``overlap``, a multiple of 0.1, in single precision."""
    shared = np.float32(100 * overlap / 10)
    height = np.float32((100 + 10 * shared) / 20)  # two areas minus the shared one are 100
    first = np.array([0, 0, 10, height], 'float32')
    second = np.array([0, height - shared, 10, 2 * height - shared], 'float32')
    boxes = np.stack([first, second, second + 64, first + 64])
    return {'boxes': boxes, 'scores': np.array([0.9, 0.8, 0.7, 0.6], 'float32'), 'classes': np.zeros(4, 'int64')}


def run_nms(boxes: Tensor, scores: Tensor, classes: Tensor, **options: Any) -> dict[str, Tensor]:
    dets, kept = ops.nms(boxes, scores, **options)
    return {'dets': dets, 'kept': kept}


def run_soft_nms(boxes: Tensor, scores: Tensor, classes: Tensor, **options: Any) -> dict[str, Tensor]:
    dets, kept = ops.soft_nms(boxes, scores, **options)
    return {'dets': dets, 'kept': kept}


def run_batched_nms(
    boxes: Tensor, scores: Tensor, classes: Tensor, nms_cfg: dict[str, Any] | None
) -> dict[str, Tensor]:
    dets, kept = ops.batched_nms(boxes, scores, classes, nms_cfg)
    return {'dets': dets, 'kept': kept}


def nms_cases() -> Iterator[Case]:
    for offset in (0, 1):
        for kind, count in (('any', 60), ('pixels', 60), ('no area', 30), ('any', 1), ('any', 0)):
            for threshold in (0.1, 0.5, 0.7):
                run = partial(run_nms, iou_threshold=threshold, offset=offset)
                yield Case(f'nms-{kind}-{count}-{threshold}-{offset}', partial(draw_boxes, count=count, kind=kind), run)
    for tenths in range(1, 10):
        run = partial(run_nms, iou_threshold=tenths / 10)
        yield Case(f'nms-edge-{tenths}', partial(draw_edge, overlap=tenths / 10), run)
    options = {'iou_threshold': 0.5, 'score_threshold': 0.3, 'max_num': 4}
    yield Case('nms-score_threshold', partial(draw_boxes, count=40), partial(run_nms, **options))
    for method in ('naive', 'linear', 'gaussian'):
        for kind, count, offset in (('any', 50, 0), ('ties', 50, 1), ('no area', 20, 0), ('any', 0, 0)):
            for min_score in (1e-3, 0.3):
                run = partial(run_soft_nms, method=method, offset=offset, min_score=min_score)
                name = f'soft_nms-{method}-{kind}-{count}-{min_score}'
                yield Case(name, partial(draw_boxes, count=count, kind=kind), run)
    for name, config in {
        'plain': {'type': 'nms', 'iou_threshold': 0.5},
        'agnostic': {'type': 'nms', 'iou_threshold': 0.5, 'class_agnostic': True},
        'split': {'type': 'nms', 'iou_threshold': 0.5, 'split_thr': 10, 'max_num': 7},
        'soft': {'type': 'soft_nms', 'iou_threshold': 0.3, 'min_score': 0.05},
        'none': None,
    }.items():
        draw = partial(draw_boxes, count=60, kind='any')
        yield Case(f'batched_nms-{name}', draw, partial(run_batched_nms, nms_cfg=config))


def draw_regions(
    rng: np.random.Generator, dtype: str, size: tuple[int, int], bins: tuple[int, int], scale: float, ordered: bool
) -> dict[str, np.ndarray]:
    """Regions in the image, over its border, outside, of no size, and, unless ``ordered``, one that ends before it."""
    height, width = size
    high = np.array([width, height]) / scale
    start = rng.uniform(-0.2, 0.9, (9, 2)) * high
    stop = start + rng.uniform(0.05, 0.6, (9, 2)) * high
    start[6], stop[6] = high * 2, high * 2.5
    stop[7] = start[7]
    if not ordered:
        stop[8] = start[8] - 0.3 * high
    image = rng.integers(0, 2, (9, 1)).astype('float64')
    return {
        'values': rng.normal(0, 1, (2, 3, *size)).astype(dtype),
        'regions': np.concatenate([image, start, stop], 1).astype(dtype),
        'grad': rng.normal(0, 1, (9, 3, *bins)).astype(dtype),
    }


def run_pooled(
    values: Tensor, regions: Tensor, grad: Tensor, pool: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Tensor]:
    values.requires_grad_()
    pooled = pool(values, regions)
    pooled.backward(grad)
    return {'pooled': pooled.detach(), 'grad_values': values.grad}


def align(values: Tensor, regions: Tensor, bins: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    return ops.roi_align(values, regions, bins, scale, ratio, 'avg', aligned)


def roi_align_cases() -> Iterator[Case]:
    for dtype in DTYPES:
        for size, bins, scale, ratio in (
            ((9, 7), (3, 2), 1.0, 0),
            ((9, 7), (7, 7), 0.25, 2),
            ((5, 13), (1, 3), 0.1, 0),
            ((1, 1), (2, 2), 1.0, 3),
        ):
            for aligned in (False, True):
                draw = partial(draw_regions, dtype=dtype, size=size, bins=bins, scale=scale, ordered=aligned)
                pool = partial(align, bins=bins, scale=scale, ratio=ratio, aligned=aligned)
                name = f'roi_align-{dtype}-{size}-{bins}-{scale}-{ratio}-{aligned}'
                yield Case(name, draw, partial(run_pooled, pool=pool))


def roi_pool_cases() -> Iterator[Case]:
    for dtype in DTYPES[:2]:
        for size, bins, scale in (
            ((9, 7), (3, 2), 1.0),
            ((9, 7), (7, 7), 0.25),
            ((5, 13), (1, 3), 0.1),
            ((16, 16), (5, 5), 0.3),
        ):
            draw = partial(draw_regions, dtype=dtype, size=size, bins=bins, scale=scale, ordered=False)
            yield Case(
                f'roi_pool-{dtype}-{size}-{bins}-{scale}', draw, partial(run_pooled, pool=_positional(bins, scale))
            )


def _positional(bins: tuple[int, int], scale: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda values, regions: ops.roi_pool(values, regions, bins, scale)  # a torch function takes no keywords


def draw_logits(rng: np.random.Generator, dtype: str, weighted: bool) -> dict[str, np.ndarray]:
    logits = rng.normal(0, 3, (17, 5))
    logits[:4] = [[-120, -60, 0, 60, 120]] * 4
    target = rng.integers(0, 5 if weighted else 6, 17)  # 5 is the background, which has no weight
    return {
        'logits': logits.astype(dtype),
        'target': target,
        'weight': rng.uniform(0.5, 2, 5 if weighted else 0).astype(dtype),
        'grad': rng.normal(0, 1, (17, 5)).astype(dtype),
    }


def run_focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor, grad: Tensor, gamma: float, alpha: float, reduction: str
) -> dict[str, Tensor]:
    logits.requires_grad_()
    loss = ops.sigmoid_focal_loss(logits, target, gamma, alpha, weight if len(weight) else None, reduction)
    loss.backward(grad if reduction == 'none' else None)
    return {'loss': loss.detach(), 'grad_logits': logits.grad}


def focal_loss_cases() -> Iterator[Case]:
    for dtype in DTYPES[:2]:
        for gamma, alpha, reduction, weighted in (
            (2.0, 0.25, 'none', False),
            (2.0, 0.25, 'mean', True),
            (1.5, 0.6, 'sum', False),
            (0.0, 0.5, 'none', True),
        ):
            run = partial(run_focal_loss, gamma=gamma, alpha=alpha, reduction=reduction)
            name = f'focal_loss-{dtype}-{gamma}-{alpha}-{reduction}-{weighted}'
            yield Case(name, partial(draw_logits, dtype=dtype, weighted=weighted), run)


@dataclass(frozen=True)
class Deform:
    """The numbers of a deformable convolution, pairs of height and width."""

    size: tuple[int, int] = (7, 6)
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    deform_groups: int = 1
    batch: int = 2

    def out_size(self) -> tuple[int, ...]:
        numbers = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in numbers)

    def draw(self, rng: np.random.Generator, dtype: str) -> dict[str, np.ndarray]:
        taps = self.deform_groups * self.kernel[0] * self.kernel[1]
        out = self.out_size()
        drawn = {
            'values': rng.normal(0, 1, (self.batch, 4, *self.size)),
            'offset': rng.normal(0, 2, (self.batch, 2 * taps, *out)),
            'mask': rng.uniform(0, 1, (self.batch, taps, *out)),
            'weight': rng.normal(0, 0.3, (6, 4 // self.groups, *self.kernel)),
            'bias': rng.normal(0, 1, 6),
            'grad': rng.normal(0, 1, (self.batch, 6, *out)),
        }
        return {name: value.astype(dtype) for name, value in drawn.items()}

    def rest(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.groups, self.deform_groups


DEFORMS = (
    Deform(),
    Deform(size=(9, 5), kernel=(3, 2), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    Deform(groups=2, deform_groups=2, stride=(2, 2)),
    Deform(kernel=(1, 1), padding=(0, 0), deform_groups=4, batch=3),
)


def run_deform_conv(
    values: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, grad: Tensor, rest: tuple[Any, ...]
) -> dict[str, Tensor]:
    leaves = {'values': values, 'offset': offset, 'weight': weight}
    out = ops.deform_conv2d(*(leaf.requires_grad_() for leaf in leaves.values()), *rest)
    out.backward(grad)
    return dict(out=out.detach(), **{f'grad_{name}': leaf.grad for name, leaf in leaves.items()})


def run_modulated(
    values: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    grad: Tensor,
    rest: tuple[Any, ...],
    with_bias: bool,
) -> dict[str, Tensor]:
    leaves = {'values': values, 'offset': offset, 'mask': mask, 'weight': weight} | (
        {'bias': bias} if with_bias else {}
    )
    given = [leaf.requires_grad_() for leaf in leaves.values()] + ([] if with_bias else [None])
    out = ops.modulated_deform_conv2d(*given, *rest)
    out.backward(grad)
    return dict(out=out.detach(), **{f'grad_{name}': leaf.grad for name, leaf in leaves.items()})


def deform_conv_cases() -> Iterator[Case]:
    for index, deform in enumerate(DEFORMS):
        for dtype in DTYPES if index < 2 else DTYPES[::2]:
            draw = partial(deform.draw, dtype=dtype)
            yield Case(f'deform_conv-{index}-{dtype}', draw, partial(run_deform_conv, rest=deform.rest()))
            run = partial(run_modulated, rest=deform.rest(), with_bias=index % 2 == 0)
            yield Case(f'modulated_deform_conv-{index}-{dtype}', draw, run)


# of MMDetection: a transformer with masks and RoIAlign, and a ResNet with deformable convolutions
DETECTORS = {
    'retinanet': 'retinanet/retinanet_r18_fpn_1x_coco.py',
    'convnext': 'convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
    'swin': 'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    'dcn': 'dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',
    'dcnv2': 'dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py',
}


def build_detector(name: str) -> torch.nn.Module:
    """A detector of a config that MMDetection ships, with weights that are a function of their names."""
    register_all_modules(init_default_scope=False)
    config = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs' / DETECTORS[name]).model
    config.backbone.init_cfg = None
    config.test_cfg.get('rcnn', config.test_cfg).update(score_thr=0.0, max_per_img=20)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config)
    for key, value in model.named_parameters():
        if value.dim() > 1:
            rng = np.random.default_rng(zlib.crc32(key.encode()))
            drawn = rng.standard_normal(tuple(value.shape), dtype='float32') * value[0].numel() ** -0.5
            value.data.copy_(torch.from_numpy(drawn))
        else:
            value.data.fill_(0.0 if key.endswith('bias') else 1.0)
    return model


def draw_scene(rng: np.random.Generator) -> dict[str, np.ndarray]:
    start = rng.uniform(0, 30, (2, 3, 2))
    return {
        'images': rng.integers(0, 4, (2, 3, 96, 128), 'uint8') * 80,
        'boxes': np.concatenate([start, start + rng.uniform(12, 34, (2, 3, 2))], 2).astype('float32'),
        'classes': rng.integers(0, 80, (2, 3)),
    }


def run_detector(images: Tensor, boxes: Tensor, classes: Tensor, name: str) -> dict[str, Tensor]:
    """Losses and gradients of a training step, then what the untouched weights predict."""
    model = build_detector(name)
    size = tuple(images.shape[2:])
    samples = []
    for image_boxes, image_classes in zip(boxes, classes, strict=True):
        masks = np.zeros((len(image_boxes), *size), 'uint8')
        for mask, (left, top, right, bottom) in zip(masks, image_boxes.int().tolist(), strict=True):
            mask[top:bottom, left:right] = 1
        truth = InstanceData(bboxes=image_boxes, labels=image_classes, masks=BitmapMasks(masks, *size))
        shapes = {'img_shape': size, 'ori_shape': size, 'pad_shape': size, 'batch_input_shape': size}
        samples.append(DetDataSample(gt_instances=truth, metainfo={**shapes, 'scale_factor': (1.0, 1.0)}))
    data = {'inputs': list(images), 'data_samples': samples}
    torch.manual_seed(0)  # which regions are sampled, and drop path
    losses = model.train()(**model.data_preprocessor(data, True), mode='loss')
    total, logged = model.parse_losses(losses)
    total.backward()
    norms = [value.grad.norm() for value in model.parameters() if value.grad is not None]
    with torch.no_grad():
        found = model.eval()(**model.data_preprocessor(data), mode='predict')[0].pred_instances
    return {
        **{key: value.detach() for key, value in logged.items()},
        'gradient': torch.stack(norms).norm(),
        'predicted_boxes': found.bboxes,
        'predicted_scores': found.scores,
        'predicted_classes': found.labels,
    }


def detector_cases() -> Iterator[Case]:
    for name in DETECTORS:
        yield Case(f'detector-{name}', draw_scene, partial(run_detector, name=name))
