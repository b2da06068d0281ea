"""One ONNX file from a photograph to boxes or a segmentation: preprocessing, network, decoding and the last choice.

The choice is non-maximum suppression of a detector, the class of a pixel of a segmentor. What is in the file, and how
it relates to what the hosts compute, stands in docs/deployment.md.
"""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmhybrid.apis.export import STRIDE, check_one_stage, export_model
from mmhybrid.apis.export_metadata import preprocessor_of
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import write_whole
from mmhybrid.utils.optional import require

PASSED_OVER = ('LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs', 'PackSegInputs', 'ResizeToMultiple')
TRACED = (8 * STRIDE, 9 * STRIDE)  # for files that leave the size open; as good as any that is no square
# Types of tensors in ONNX.
FLOAT, UINT8, INT32, INT64, DOUBLE = 1, 2, 6, 7, 11
Outputs = dict[str, tuple[int, list[Any]]]  # type and sizes of each


@dataclass(frozen=True)
class Preprocessing:
    """What a config's test pipeline and data preprocessor do to a photograph.

    Args:
        canvas: Height and width of the images that the network takes, on which photographs are made to fit; None for
            images as large as they come, with zeros up to the next multiples of ``divisor``.
        divisor: See ``canvas``.
        scale: What the image is resized to: with ``keep_ratio`` the largest of its (longer, shorter) side, else its
            (height, width); None for nothing.
        keep_ratio: See ``scale``.
        multiple: What the sides are made multiples of after that; 1 for nothing.
        mean: By channel, in the order of the network.
        std: As ``mean``.
        is_rgb: Whether the network takes RGB, else BGR.
        border: What is put around the image, by channel as ``mean``, in pixels from 0 to 255; None for zeros behind the
            normalisation, which do not count as a part of the image.
        border_value: What the data preprocessor puts around normalised images.
    """

    canvas: tuple[int, int] | None
    divisor: int
    scale: tuple[int, int] | None
    keep_ratio: bool
    multiple: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_rgb: bool
    border: tuple[float, ...] | None
    border_value: float

    @classmethod
    def of_config(cls, cfg: Config, shape: Sequence[int] | None, is_open: bool = False) -> 'Preprocessing':
        """Read a config.

        Args:
            cfg: Of a detector or segmentor.
            shape: Height and width of the canvas; None for one that all images fit on.
            is_open: Whether there is no canvas.

        Raises:
            ValueError: If a transform of the test pipeline is unknown, its images do not fit the canvas, or nothing
                says how large it is.
        """
        steps = _transforms(cfg)
        resize, pad = steps.get('Resize', {}), steps.get('Pad', {})
        keep_ratio, scale = bool(resize.get('keep_ratio')), resize.get('scale')
        if resize and scale is None:
            raise ValueError('test pipeline: Resize without a scale, which --end-to-end needs')
        if isinstance(scale, int):
            scale = (scale, scale)
        if scale is not None:
            scale = (max(scale), min(scale)) if keep_ratio else (int(scale[1]), int(scale[0]))
        multiple = int(steps.get('ResizeToMultiple', {}).get('size_divisor', 32 if 'ResizeToMultiple' in steps else 1))
        values = preprocessor_of(cfg)
        mean, std = (_three(values.get(name), default) for name, default in (('mean', 0.0), ('std', 1.0)))
        is_rgb = bool(values.get('bgr_to_rgb') or values.get('rgb_to_bgr'))
        border = None
        if pad:
            given = pad.get('pad_val', 0)
            border = _three(given.get('img', 0) if isinstance(given, Mapping) else given, 0.0)
            border = border[::-1] if is_rgb else border
        canvas = None if is_open else _canvas(shape, pad.get('size'), scale, keep_ratio, multiple)
        if canvas is None and pad:
            raise ValueError('--dynamic: the test pipeline pads images to one size (Pad), which the file has too')
        divisor = math.lcm(STRIDE, int(values.get('pad_size_divisor') or 1))
        border_value = float(values.get('pad_value', values.get('pad_val', 0)) or 0)
        return cls(canvas, divisor, scale, keep_ratio, multiple, mean, std, is_rgb, border, border_value)

    def told(self) -> dict[str, str]:
        """What to say of it in a file's metadata."""
        facts = {name: json.dumps(value) for name, value in asdict(self).items()}
        size = 'open' if self.canvas is None else f'{self.canvas[0]} x {self.canvas[1]}'
        return {
            **facts,
            'input': 'image: (height, width, 3), uint8, RGB, of any size',
            'resolution': size,
            'normalisation': 'in the file',
        }


class Candidates(nn.Module):
    """A one-stage detector as a function from images to the boxes that non-maximum suppression chooses among."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.num_kept = int(model.bbox_head.test_cfg.get('nms_pre', -1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, 3, H, W) -> boxes (K, 4), x1 y1 x2 y2 in pixels of the images, their scores (K) and classes (K)."""
        head = self.model.bbox_head
        scores, deltas = head(self.model.extract_feat(images))
        sizes = [level.shape[-2:] for level in scores]
        priors = head.prior_generator.grid_priors(sizes, dtype=images.dtype, device=images.device)
        levels = [self._level(*level) for level in zip(scores, deltas, priors, strict=True)]
        boxes, best, labels = zip(*levels, strict=True)
        return torch.cat(boxes), torch.cat(best), torch.cat(labels)

    def _level(self, scores: Tensor, deltas: Tensor, priors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        head = self.model.bbox_head
        scores = scores[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels)
        scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[:, :-1]
        num_classes, count = scores.shape[1], scores.numel()
        kept = torch.sym_min(self.num_kept, count) if self.num_kept > 0 else count  # sizes may be left open
        best, places = scores.flatten().topk(kept)
        chosen, labels = places // num_classes, places % num_classes
        deltas = deltas[0].permute(1, 2, 0).reshape(-1, head.bbox_coder.encode_size)
        boxes = head.bbox_coder.decode(priors[chosen], deltas[chosen])  # clipped where the size of the image is known
        return getattr(boxes, 'tensor', boxes), best, labels


class ClassMaps(nn.Module):
    """A segmentor as a function from images to a map for each class, as large as they are."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(1, 3, H, W) -> (1, classes, H, W)."""
        maps: Tensor = self.model.encode_decode(images, [{'img_shape': images.shape[-2:]}])
        return maps


def export_end_to_end(model: Any, preprocessing: Preprocessing, path: str | Path) -> None:
    """Write a detector or segmentor with all that stands around its network, whole or not at all.

    Its input ``image`` is (height, width, 3), uint8, RGB, of any size. A detector's outputs are ``boxes`` (N, 4),
    x1 y1 x2 y2 in pixels of that image, ``scores`` (N), highest first, and ``labels`` (N); a segmentor's is
    ``segmentation`` (height, width), uint8.

    Args:
        model: Of MMDetection or MMSegmentation, in eval mode.
        preprocessing: What happens to photographs.
        path: The file.

    Raises:
        ValueError: If the model is neither, or one whose last steps are not those of a one-stage detector with NMS or
            of a segmentor that sees the image as a whole; and from :func:`export_model`.
    """
    check_end_to_end(model)
    onnx = require('onnx', 'format onnx')
    is_detector = hasattr(model, 'bbox_head')
    network = (Candidates(model) if is_detector else ClassMaps(model)).eval()
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, 'network.onnx')
        shape, dynamic = (TRACED, 'size') if preprocessing.canvas is None else (preprocessing.canvas, None)
        export_model(network, (1, 3, *shape), draft, 'onnx', dynamic)
        file = onnx.load(draft)
    front, back = _Nodes(onnx, 'before_'), _Nodes(onnx, 'after_')
    images, size, content = _before(front, preprocessing)
    front('Identity', images, name=file.graph.input[0].name)
    given = [output.name for output in file.graph.output]
    if is_detector:
        limit = content if preprocessing.border is None else np.array(preprocessing.canvas)  # MMDetection takes it so
        outputs = _choose_boxes(back, given, (size, content, limit), model.bbox_head)
    else:
        num_classes = file.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        outputs = _choose_classes(back, given[0], (size, content), model, num_classes)
    nodes = [*front.nodes, *file.graph.node, *back.nodes]
    del file.graph.node[:], file.graph.input[:], file.graph.output[:]
    file.graph.node.extend(nodes)
    file.graph.initializer.extend([*front.constants, *back.constants])
    tell = onnx.helper.make_tensor_value_info
    file.graph.input.append(tell('image', UINT8, ['height', 'width', 3]))
    file.graph.output.extend(tell(name, *kind) for name, kind in outputs.items())
    onnx.checker.check_model(file, full_check=True)
    write_whole(Path(path), file.SerializeToString())


def check_end_to_end(model: Any) -> None:
    """Raise ValueError for a model of which there is no file from photographs to what it finds."""
    check_one_stage(model)
    name = type(model).__name__
    if hasattr(model, 'decode_head'):
        if model.test_cfg.get('mode', 'whole') != 'whole':
            allowed = "'whole': a window that slides over an image is no part of the file"
            raise bad_value('model.test_cfg.mode', model.test_cfg.mode, allowed)
        return
    head = getattr(model, 'bbox_head', None)
    if head is None:
        raise ValueError(
            f'{name} is neither a detector nor a segmentor, for which --end-to-end is; other files take normalised '
            'images and say in their metadata how'
        )
    decode = getattr(head, '_predict_by_feat_single', None)
    known = str(getattr(decode, '__module__', '')).endswith('dense_heads.base_dense_head')
    if not known or any(hasattr(head, part) for part in ('conv_centerness', 'atss_centerness')):
        raise ValueError(
            f'{type(head).__name__} decodes boxes in a way of its own; --end-to-end writes heads such as RetinaHead '
            'and RTMDetSepBNHead'
        )
    nms = head.test_cfg.get('nms') or {}
    if nms.get('type', 'nms') != 'nms':
        raise bad_value('test_cfg.nms.type', nms['type'], "'nms', which ONNX has")


class _Nodes:
    """ONNX nodes, entered one after the other: a call gives the name of what it computes."""

    def __init__(self, onnx: ModuleType, prefix: str) -> None:
        self.onnx, self.prefix = onnx, prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(
        self, kind: str, *inputs: str | np.ndarray | np.generic | None, name: str = '', **attributes: Any
    ) -> str:
        """Enter a node, whose inputs are names, constants, or None where one is left out."""
        names = [given or '' if given is None or isinstance(given, str) else self._constant(given) for given in inputs]
        name = name or f'{self.prefix}{kind.lower()}_{len(self.nodes)}'
        self.nodes.append(self.onnx.helper.make_node(kind, names, [name], **attributes))
        return name

    def _constant(self, value: np.ndarray | np.generic) -> str:
        name = f'{self.prefix}constant_{len(self.constants)}'
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name


def _before(op: _Nodes, rule: Preprocessing) -> tuple[str, str, str]:
    """From ``image`` to the network: normalised images; (height, width) of the photograph, and on the canvas."""
    size = op('Slice', op('Shape', 'image'), np.array([0]), np.array([2]))
    sides = op('Cast', size, to=DOUBLE)  # as MMCV counts
    factors = []
    if rule.scale is not None and rule.keep_ratio:
        # the smaller quotient is the longer side's; a number by ReduceMax(sides), OpenVINO computes upside down
        for most, least in zip(rule.scale, ('ReduceMin', 'ReduceMax'), strict=True):
            factors.append(op(least, op('Div', np.array(float(most)), sides), keepdims=0))
    elif rule.canvas is not None:
        factors.append(op('Identity', np.array(1.0)))
    if rule.canvas is not None:
        factors.append(op('ReduceMin', op('Div', np.array(rule.canvas, np.float64), sides), keepdims=0))
    if rule.scale is not None and not rule.keep_ratio:
        content = op('Identity', np.array(rule.scale))
    elif factors:
        exact = op('Add', op('Mul', sides, op('Min', *factors)), np.array(0.5))
        content = op('Max', op('Cast', op('Floor', exact), to=INT64), np.array([1, 1]))
    else:
        content = size
    planes = op('Unsqueeze', op('Transpose', op('Cast', 'image', to=INT32), perm=[2, 0, 1]), np.array([0]))
    planes = planes if rule.is_rgb else op('Gather', planes, np.array([2, 1, 0]), axis=1)
    planes = _resize(op, planes, size, content)
    if rule.multiple > 1:
        step, before = np.array(rule.multiple), content
        content = op('Mul', op('Div', op('Add', content, step - 1), step), step)
        planes = _resize(op, planes, before, content)
    planes = op('Cast', planes, to=FLOAT)
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (rule.mean, rule.std))
    canvas: np.ndarray | str = np.array(rule.canvas)
    if rule.canvas is None:
        step = np.array(rule.divisor)
        canvas = op('Mul', op('Div', op('Add', content, step - 1), step), step)
    spare = op('Concat', np.zeros(6, np.int64), op('Sub', canvas, content), axis=0)
    if rule.border is None:
        normalised = op('Div', op('Sub', planes, mean), std)
        return op('Pad', normalised, spare, np.array(rule.border_value, np.float32)), size, content
    border = np.array(rule.border, np.float32).reshape(3, 1, 1)
    padded = op('Add', op('Pad', op('Sub', planes, border), spare), border)  # a colour, and Pad knows one number
    return op('Div', op('Sub', padded, mean), std), size, content


def _resize(op: _Nodes, planes: str, before: str, after: str) -> str:
    """Resize (1, 3, H, W), int32, to the very numbers of OpenCV, whose weights have 11 bits and which cuts off others.

    ONNX's own Resize would do it in floating point, and one pixel in eight would differ by 1.
    """
    (left, left_weight), (right, right_weight) = _neighbours(op, before, after, 1)
    columns = [op('Mul', op('Gather', planes, left, axis=3), left_weight)]
    columns.append(op('Mul', op('Gather', planes, right, axis=3), right_weight))
    planes = op('Div', op('Add', *columns), np.array(1 << 4, np.int32))
    rows = []
    for place, weight in _neighbours(op, before, after, 0):
        weight = op('Unsqueeze', weight, np.array([1]))
        rows.append(op('Div', op('Mul', op('Gather', planes, place, axis=2), weight), np.array(1 << 16, np.int32)))
    return op('Div', op('Add', op('Add', *rows), np.array(2, np.int32)), np.array(1 << 2, np.int32))


def _neighbours(op: _Nodes, before: str, after: str, axis: int) -> list[tuple[str, str]]:
    """The two pixels along an axis that each new one lies between: where they are, and their weights of 2048."""
    old, new = (op('Gather', size, np.array(axis)) for size in (before, after))
    scale = op('Div', op('Cast', old, to=DOUBLE), op('Cast', new, to=DOUBLE))
    steps = op('Range', np.array(0.0), op('Cast', new, to=DOUBLE), np.array(1.0))
    exact = op('Sub', op('Mul', op('Add', steps, np.array(0.5)), scale), np.array(0.5))
    exact = op('Cast', exact, to=FLOAT)
    low = op('Floor', exact)
    share, last = op('Sub', exact, low), op('Sub', old, np.array(1))
    found = []
    for shift, part in ((0, op('Sub', np.array(1, np.float32), share)), (1, share)):
        place = op('Add', op('Cast', low, to=INT64), np.array(shift))
        place = op('Min', op('Max', place, np.array(0)), last)
        found.append((place, op('Cast', op('Round', op('Mul', part, np.array(2048, np.float32))), to=INT32)))
    return found


def _choose_boxes(op: _Nodes, given: Sequence[str], sizes: Sequence[Any], head: Any) -> Outputs:
    """What MMDetection does with the candidates: clip, rescale, leave out, suppress."""
    boxes, scores, labels = given
    size, content, limit = sizes
    test_cfg = head.test_cfg
    nms = test_cfg.nms
    corners = np.array([1, 0, 1, 0])  # of a height and a width
    if getattr(head.bbox_coder, 'clip_border', True):
        most = op('Gather', op('Cast', limit, to=FLOAT), corners)
        boxes = op('Min', op('Max', boxes, np.zeros(4, np.float32)), most)
    factor = op('Div', op('Cast', size, to=DOUBLE), op('Cast', content, to=DOUBLE))
    boxes = op('Mul', boxes, op('Gather', op('Cast', factor, to=FLOAT), corners))
    if test_cfg.get('min_bbox_size', -1) >= 0:
        axis, middle = np.array([1]), np.array([2])
        ends = op('Slice', boxes, middle, np.array([4]), axis), op('Slice', boxes, np.array([0]), middle, axis)
        least = op('ReduceMin', op('Sub', *ends), axis, keepdims=0)
        is_large = op('Greater', least, np.array(test_cfg.min_bbox_size, np.float32))
        scores = op('Where', is_large, scores, np.array(-1, np.float32))
    places = boxes
    if not nms.get('class_agnostic', False):  # boxes of different classes are moved apart
        width = op('Add', op('ReduceMax', boxes, keepdims=0), np.array(1, np.float32))
        places = op('Add', boxes, op('Unsqueeze', op('Mul', op('Cast', labels, to=FLOAT), width), np.array([1])))
    chosen = op(
        'NonMaxSuppression',
        op('Unsqueeze', places, np.array([0])),
        op('Unsqueeze', scores, np.array([0, 1])),
        np.array([test_cfg.max_per_img]),
        np.array([nms.get('iou_threshold', nms.get('iou_thr', 0.5))], np.float32),
        np.array([test_cfg.get('score_thr', 0)], np.float32),
    )
    chosen = op('Gather', chosen, np.array(2), axis=1)
    for name, values in (('boxes', boxes), ('scores', scores), ('labels', labels)):
        op('Gather', values, chosen, name=name, axis=0)
    return {'boxes': (FLOAT, ['num', 4]), 'scores': (FLOAT, ['num']), 'labels': (INT64, ['num'])}


def _choose_classes(op: _Nodes, maps: str, sizes: Sequence[Any], model: Any, num_classes: int) -> Outputs:
    """What MMSegmentation does with the maps of the classes: leave out the border, resize, choose."""
    size, content = sizes
    inner = op('Slice', maps, np.array([0, 0]), content, np.array([2, 3]))
    mode = 'align_corners' if model.align_corners else 'half_pixel'
    target = op('Concat', np.array([1, num_classes]), size, axis=0)
    large = op('Resize', inner, None, None, target, mode='linear', coordinate_transformation_mode=mode)
    if num_classes == 1:
        found = op('Greater', op('Sigmoid', large), np.array(model.decode_head.threshold, np.float32))
        op('Squeeze', op('Cast', found, to=UINT8), np.array([0, 1]), name='segmentation')
    else:
        found = op('ArgMax', large, axis=1, keepdims=0)
        op('Squeeze', op('Cast', found, to=UINT8), np.array([0]), name='segmentation')
    return {'segmentation': (UINT8, ['height', 'width'])}


def _transforms(cfg: Config) -> dict[str, Mapping[str, Any]]:
    """The test pipeline's transforms by their names; ValueError for what a file has no part for."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    found: dict[str, Mapping[str, Any]] = {}
    for transform in dataset.get('pipeline') or ():
        name = str(transform.get('type')).rpartition('.')[2]
        if name not in (*PASSED_OVER, 'Resize', 'Pad') or name in found:
            allowed = f'each of {", ".join((*PASSED_OVER, "Resize", "Pad"))} once, as parts of the file'
            raise bad_value('test pipeline', name, allowed)
        found[name] = transform
    return found


def _canvas(
    given: Sequence[int] | None,
    padded: Sequence[int] | None,
    scale: tuple[int, int] | None,
    keep_ratio: bool,
    multiple: int,
) -> tuple[int, int]:
    """The size of the images of a file: what was asked for, what ``Pad`` makes them, or what takes all of them."""
    if given is None and padded is not None:
        given = padded[::-1]  # MMCV's are widths and heights
    if given is None and scale is not None:
        given = [-(-side // STRIDE) * STRIDE for side in ((scale[0], scale[0]) if keep_ratio else scale)]
    if given is None:
        raise ValueError('--shape: the config does not say the size of the images, give height and width')
    height, width = int(given[0]), int(given[1])
    text = f'{height} {width}'
    if padded is not None and (height, width) != tuple(padded[::-1]):
        raise bad_value('--shape', text, f'{padded[1]} {padded[0]}, to which the test pipeline pads')
    if height % multiple or width % multiple:
        raise bad_value('--shape', text, f'multiples of {multiple}, as ResizeToMultiple leaves them')
    if scale is not None and not keep_ratio and (height < scale[0] or width < scale[1]):
        raise bad_value('--shape', text, f'at least {scale[0]} {scale[1]}, what Resize leaves')
    return height, width


def _three(value: Any, default: float) -> tuple[float, ...]:
    """A number for each channel."""
    if value is None:
        value = default
    values = [value] if isinstance(value, int | float) else list(value)
    return tuple(float(number) for number in (values * 3 if len(values) == 1 else values))
