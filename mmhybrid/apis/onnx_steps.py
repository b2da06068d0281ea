"""ONNX nodes around a network, for a file from a photograph to boxes or a segmentation.

Each step computes exactly the numbers that OpenMMLab computes; docs/deployment.md explains how.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from mmhybrid.apis.preprocessing import Preprocessing

# Types of tensors in ONNX.
FLOAT, UINT8, INT32, INT64, DOUBLE = 1, 2, 6, 7, 11
Outputs = dict[str, tuple[int, list[Any]]]  # type and sizes of each


class Nodes:
    """A list of ONNX nodes; a call adds a node and returns the name of its output."""

    def __init__(self, onnx: ModuleType, prefix: str) -> None:
        self.onnx, self.prefix = onnx, prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(
        self, kind: str, *inputs: str | np.ndarray | np.generic | None, name: str = '', **attributes: Any
    ) -> str:
        """Add a node, whose inputs are names, constants, or None for an omitted input."""
        names = [given or '' if given is None or isinstance(given, str) else self._constant(given) for given in inputs]
        name = name or f'{self.prefix}{kind.lower()}_{len(self.nodes)}'
        self.nodes.append(self.onnx.helper.make_node(kind, names, [name], **attributes))
        return name

    def _constant(self, value: np.ndarray | np.generic) -> str:
        name = f'{self.prefix}constant_{len(self.constants)}'
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name


def before_network(op: Nodes, rule: Preprocessing) -> tuple[str, str, str]:
    """Return the normalised images, and the (height, width) of the photograph and of its part of the canvas."""
    size = op('Slice', op('Shape', 'image'), np.array([0]), np.array([2]))
    sides = op('Cast', size, to=DOUBLE)  # MMCV computes in double precision
    factors = []
    if rule.scale is not None and rule.keep_ratio:
        # The smaller quotient belongs to the longer side. ReduceMax(sides) is not used here: as a divisor of a number,
        # OpenVINO computes the inverse ratio with it.
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
    # the border is a colour, but Pad takes one number
    padded = op('Add', op('Pad', op('Sub', planes, border), spare), border)
    return op('Div', op('Sub', padded, mean), std), size, content


def _resize(op: Nodes, planes: str, before: str, after: str) -> str:
    """Resize (1, 3, H, W), int32, to exactly the numbers of OpenCV, which uses weights of 11 bits and truncates.

    ONNX's own Resize computes in floating point, and one pixel in eight would differ by 1.
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


def _neighbours(op: Nodes, before: str, after: str, axis: int) -> list[tuple[str, str]]:
    """Return positions and weights of the two old pixels between which each new one lies along an axis.

    The weights are in units of 1/2048.
    """
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


def choose_boxes(op: Nodes, given: Sequence[str], sizes: Sequence[Any], head: Any) -> Outputs:
    """Add MMDetection's postprocessing of the candidates: clip, rescale, filter, and suppress overlapping boxes."""
    boxes, scores, labels = given
    size, content, limit = sizes
    test_cfg = head.test_cfg
    nms = test_cfg.nms
    corners = np.array([1, 0, 1, 0])  # indices into (height, width)
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


def choose_classes(op: Nodes, maps: str, sizes: Sequence[Any], model: Any, num_classes: int) -> Outputs:
    """Add MMSegmentation's postprocessing of the class maps: remove the border, resize, and choose a class."""
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
