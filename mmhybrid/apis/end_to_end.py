"""One ONNX file from a photograph to boxes or a segmentation: preprocessing, network, decoding and final selection.

The final selection is non-maximum suppression for a detector, and the choice of a class for each pixel for a segmentor.
docs/deployment.md describes what is in the file and how its results relate to those of OpenMMLab.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmhybrid.apis.export import FLOAT32, STRIDE, Precision, check_one_stage, export_model
from mmhybrid.apis.onnx_steps import UINT8, Nodes, before_network, choose_boxes, choose_classes
from mmhybrid.apis.preprocessing import Preprocessing
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import write_whole
from mmhybrid.utils.optional import require

TRACED = (8 * STRIDE, 9 * STRIDE)  # traced size of files with an open size; any size that is not square would do


class Candidates(nn.Module):
    """A one-stage detector as a function from images to the boxes among which non-maximum suppression selects."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.num_kept = int(model.bbox_head.test_cfg.get('nms_pre', -1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (K, 4), as x1 y1 x2 y2 in pixels, scores (K) and classes (K) for images (1, 3, H, W)."""
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
        kept = torch.sym_min(self.num_kept, count) if self.num_kept > 0 else count  # the size may be open
        best, places = scores.flatten().topk(kept)
        chosen, labels = places // num_classes, places % num_classes
        deltas = deltas[0].permute(1, 2, 0).reshape(-1, head.bbox_coder.encode_size)
        boxes = head.bbox_coder.decode(priors[chosen], deltas[chosen])  # clipped later, once the image size is known
        return getattr(boxes, 'tensor', boxes), best, labels


class ClassMaps(nn.Module):
    """A segmentor as a function from images to one map per class, of the images' size."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (1, classes, H, W) for images (1, 3, H, W)."""
        maps: Tensor = self.model.encode_decode(images, [{'img_shape': images.shape[-2:]}])
        return maps


def export_end_to_end(
    model: Any, preprocessing: Preprocessing, path: str | Path, precision: Precision = FLOAT32
) -> None:
    """Write a detector or segmentor with its preprocessing and postprocessing. The file is written whole or not at all.

    Its input ``image`` is (height, width, 3), uint8, RGB, of any size. The outputs of a detector are ``boxes`` (N, 4),
    as x1 y1 x2 y2 in pixels of that image, ``scores`` (N) in descending order, and ``labels`` (N). The output of a
    segmentor is ``segmentation`` (height, width), uint8.

    Args:
        model: Model of MMDetection or MMSegmentation, in eval mode.
        preprocessing: Preprocessing of the photographs.
        path: Path of the file.
        precision: Precision of the network within it.

    Raises:
        ValueError: If the model is neither a one-stage detector with NMS nor a segmentor that sees the image as a
            whole; and as :func:`export_model`.
    """
    check_end_to_end(model)
    onnx = require('onnx', 'format onnx')
    is_detector = hasattr(model, 'bbox_head')
    network = (Candidates(model) if is_detector else ClassMaps(model)).eval()
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, 'network.onnx')
        shape, dynamic = (TRACED, 'size') if preprocessing.canvas is None else (preprocessing.canvas, None)
        export_model(network, (1, 3, *shape), draft, 'onnx', dynamic, precision)
        file = onnx.load(draft)
    front, back = Nodes(onnx, 'before_'), Nodes(onnx, 'after_')
    images, size, content = before_network(front, preprocessing)
    front('Identity', images, name=file.graph.input[0].name)
    given = [output.name for output in file.graph.output]
    if is_detector:
        limit = content if preprocessing.border is None else np.array(preprocessing.canvas)  # as in MMDetection
        outputs = choose_boxes(back, given, (size, content, limit), model.bbox_head)
    else:
        num_classes = file.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        outputs = choose_classes(back, given[0], (size, content), model, num_classes)
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
    """Raise ValueError for a model that cannot be exported end to end."""
    check_one_stage(model)
    name = type(model).__name__
    if hasattr(model, 'decode_head'):
        if model.test_cfg.get('mode', 'whole') != 'whole':
            allowed = "'whole': a window that slides over an image is not part of the file"
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
