"""Export of networks in the formats that other programs run.

This file is long because the formats are read side by side.
"""

import copy
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch._dynamo.exc import UserError
from torch.onnx import OnnxExporterError
from torch.utils._pytree import tree_map

from mmhybrid.latency.backends import executorch_program
from mmhybrid.latency.quantization import GROUPS, KEPT, quantized
from mmhybrid.torch_api import EXPORTING, EXPORTING_SIZES, require_torch
from mmhybrid.utils.checks import bad_value, check_choice, check_int, check_list
from mmhybrid.utils.errors import first_line
from mmhybrid.utils.files import check_target, is_special, part_folder
from mmhybrid.utils.images import MOST_PIXELS
from mmhybrid.utils.openvino_core import openvino_core
from mmhybrid.utils.optional import require

# File name suffixes that runtimes require; the file of Core ML is a folder.
ENDINGS = {'coreml': '.mlpackage', 'openvino': '.xml', 'executorch': '.pte'}
WEIGHTS = '.bin'  # suffix of the weights' file beside an .xml


class TensorModel(nn.Module):
    """A model of OpenMMLab as a function from images to the outputs of its heads."""

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> object:
        """Return the output of the model's tensor mode for normalised images (B, C, H, W), such as logits."""
        return self.model(images, mode='tensor')


class HalfModel(nn.Module):
    """A network in float16 as a function of images in float32; its outputs are in float32 too."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, images: Tensor) -> object:
        """Return the output of the network for images (B, C, H, W)."""
        outputs = self.network(images.half())
        return tree_map(Tensor.float, outputs)


class ImageModel(nn.Module):
    """Any network as a function of an input named ``images``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> object:
        """Return the output of the network for images (B, C, H, W)."""
        return self.network(images)


DTYPES = ('float32', 'float16', 'int8')
# Formats that support other data types than float32.
DTYPE_FORMATS = ('onnx', 'openvino')
DYNAMIC_FORMATS = ('onnx', 'exported')
STRIDE = 32  # height and width of an open size are multiples of it
Axes = dict[int, Any]
# Axes of the images that a file leaves open, by their name on the command line.
DYNAMIC: dict[str, dict[int, str]] = {
    'batch': {0: 'batch'},
    'size': {2: 'height', 3: 'width'},
    'both': {0: 'batch', 2: 'height', 3: 'width'},
}


@dataclass(frozen=True)
class Precision:
    """The data type in which a file stores weights, and in which it computes if its runtime can.

    Args:
        dtype: One of :data:`DTYPES`. With ``int8``, only layers with weights are quantised, see
            :mod:`mmhybrid.latency.quantization`. Images and outputs are always in float32.
        images: (N, C, H, W), training images as the network takes them, which give the ranges of int8.
        kept: Groups of :func:`mmhybrid.latency.quantization.groups_of` that an int8 file keeps in float32.

    Raises:
        ValueError: If the dtype or a name in ``kept`` is unknown, or if not exactly ``int8`` has images.
    """

    dtype: str = 'float32'
    images: Tensor | None = None
    kept: tuple[str, ...] = KEPT

    def __post_init__(self) -> None:
        check_choice('dtype', self.dtype, DTYPES)
        if (self.dtype == 'int8') != (self.images is not None):
            raise ValueError(f'dtype {self.dtype}: calibration images are for int8, which needs some')
        for group in self.kept:
            check_choice('kept in float', group, GROUPS)

    def quantize(self, path: Path, batch: int) -> None:
        """Quantise a float32 ONNX file with this batch size in place, if the precision is int8."""
        if self.images is not None:
            batches = (part.numpy() for part in self.images.split(batch) if len(part) == batch)
            path.write_bytes(quantized(path.read_bytes(), batches, self.kept))


FLOAT32 = Precision()


def export_model(
    model: nn.Module,
    input_shape: Sequence[int],
    path: str | Path,
    file_format: str,
    dynamic: str | None = None,
    precision: Precision = FLOAT32,
) -> None:
    """Export a network to a file. The file is written whole or not at all, and replaces a previous one.

    A device or a pipe is written to.

    Args:
        model: A model of OpenMMLab, or any module that takes images. It is put into eval mode.
        input_shape: Shape (B, C, H, W) of the file's images.
        path: Path of the file, which is a folder for ``coreml``. Some formats require a suffix, see :data:`ENDINGS`.
            OpenVINO's weights are in a file beside it with the suffix ``.bin``.
        file_format: One of :data:`FORMATS`.
        dynamic: One of :data:`DYNAMIC` for a file that accepts other shapes too, if the format and the network support
            it.
        precision: Precision of the weights; not every format supports others than float32.

    Raises:
        ValueError: If the format is unknown or needs a newer torch, the shape is not four positive ints, the folder
            does not exist, the path is a folder that is not an earlier export, the package of the format is missing,
            the network is a two-stage detector, the network or the format cannot leave the wanted axes open, or the
            format does not support the precision.
    """
    check_choice('format', file_format, tuple(FORMATS))
    if file_format != 'torchscript':
        require_torch(EXPORTING, f'format {file_format}')
    shape = [check_int('input_shape', size, 1) for size in check_list('input_shape', input_shape, 4)]
    if shape[0] * shape[2] * shape[3] > MOST_PIXELS:
        raise bad_value('input_shape', shape, f'at most {MOST_PIXELS} pixels in all images')
    check_dtype(precision.dtype, file_format)
    if precision.images is not None and len(precision.images) < shape[0]:
        raise bad_value('calibration images', len(precision.images), f'at least {shape[0]}, a batch of the file')
    if dynamic is not None:
        check_choice('dynamic', dynamic, tuple(DYNAMIC))
        if file_format not in DYNAMIC_FORMATS:
            raise bad_value(
                'dynamic', dynamic, f'nothing for the format {file_format}; {" and ".join(DYNAMIC_FORMATS)} take it'
            )
        if 2 in DYNAMIC[dynamic]:
            require_torch(EXPORTING_SIZES, f'dynamic: {dynamic}')
            _check_pooling(model)
    check_one_stage(model)
    path = Path(path)
    if not path.is_dir():
        check_target(path)
    ending = ENDINGS.get(file_format, path.suffix)
    if path.suffix != ending or (file_format == 'openvino' and is_special(path)):
        raise bad_value('path', f'{path}', f'the name of a file ending in {ending}, which {file_format} opens')
    if path.is_dir() and (file_format != 'coreml' or not (path / 'Manifest.json').is_file()):
        raise ValueError(f'{path}: a folder, which an export does not replace')
    network = TensorModel(model) if isinstance(model, BaseModel) else model
    images = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    is_stream, place = is_special(path), path.resolve()
    with tempfile.TemporaryDirectory() if is_stream else part_folder(place) as folder, torch.no_grad():
        draft = Path(folder, path.name)
        _write(network.eval(), images, draft, file_format, dynamic, precision)
        if is_stream:
            path.write_bytes(draft.read_bytes())
            return
        if path.is_dir():
            os.replace(place, Path(folder, 'before'))  # a folder cannot replace a folder that is not empty
        weights = draft.with_suffix(WEIGHTS)
        if file_format == 'openvino':
            os.replace(weights, place.with_suffix(WEIGHTS))
        os.replace(draft, place)


def check_dtype(dtype: str, file_format: str) -> None:
    """Raise ValueError for a dtype that a format does not support."""
    if dtype != 'float32' and file_format not in DTYPE_FORMATS:
        allowed = f'float32 for the format {file_format}; {" and ".join(DTYPE_FORMATS)} take it'
        raise bad_value('dtype', dtype, allowed)


def check_one_stage(model: nn.Module) -> None:
    """Raise ValueError for a two-stage detector, which cannot be exported."""
    if hasattr(model, 'roi_head'):
        raise ValueError(
            f'{type(model).__name__} is a two-stage detector: its second stage runs on boxes that the first one '
            'chooses, which is not a function from images to tensors; MMDeploy exports it'
        )


def _check_pooling(model: nn.Module) -> None:
    """Raise ValueError for a layer that would keep the pooling regions of the exported size."""
    for name, module in model.named_modules():
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size not in (1, (1, 1)):
            raise ValueError(
                f'dynamic: {name} averages over {module.output_size} regions, whose size is fixed in a file; allowed: '
                'batch, or none'
            )


def _write(
    network: nn.Module, images: Tensor, path: Path, file_format: str, dynamic: str | None, precision: Precision
) -> None:
    if dynamic is None:
        FORMATS[file_format](network, images, path, None, precision)
        return
    if len(images) == 1 and 'batch' in DYNAMIC[dynamic].values():
        images = images.repeat(2, 1, 1, 1)  # torch.export would treat an axis of size 1 as constant
    from torch.export import Dim  # not in torch 2.1

    # Sides are multiples of the largest stride; otherwise torch.export would treat every rounding on the way as a case
    # of its own.
    axes = {
        axis: Dim(name, min=1) if axis == 0 else STRIDE * Dim(f'{name}_in_strides', min=1)
        for axis, name in DYNAMIC[dynamic].items()
    }
    try:
        with _sizes_left_open(network):
            FORMATS[file_format](network, images, path, axes, precision)
    except (OnnxExporterError, UserError, ValueError) as error:
        raise ValueError(f'dynamic: this network cannot leave {dynamic} open: {first_line(error)}') from error


@contextmanager
def _sizes_left_open(network: nn.Module) -> Iterator[None]:
    """Let MMSegmentation's ``Upsample`` multiply sizes by integers within the block.

    It converts products with a float to int, which torch.export would treat as constants. The file would keep the
    exported size without any error, since FPNHead resizes the result.
    """
    changed = []
    for name, module in network.named_modules():
        if type(module).__name__ != 'Upsample' or not type(module).__module__.startswith('mmseg.'):
            continue
        factor: Any = module.scale_factor
        if module.size is not None or factor is None or isinstance(factor, tuple) or factor != int(factor):
            raise ValueError(f'dynamic: {name} upsamples by {factor} to {module.size}, allowed: a whole factor')
        options = {'mode': module.mode, 'align_corners': module.align_corners}
        module.__dict__['forward'] = partial(_enlarged, int(factor), options)
        changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.__dict__['forward']


def _enlarged(factor: int, options: Mapping[str, Any], maps: Tensor) -> Tensor:
    return nn.functional.interpolate(maps, [side * factor for side in maps.shape[-2:]], **options)


def _onnx(network: nn.Module, images: Tensor, path: Path, axes: Axes | None, precision: Precision) -> None:
    for package in ('onnx', 'onnxscript'):
        require(package, 'format onnx')
    torch.onnx.export(
        ImageModel(HalfModel(network) if precision.dtype == 'float16' else network),
        (images,),
        path,
        dynamo=True,
        external_data=False,
        input_names=['images'],
        dynamic_shapes=None if axes is None else (axes,),
        verbose=False,
    )
    precision.quantize(path, len(images))


def _coreml(network: nn.Module, images: Tensor, path: Path, axes: Axes | None, _: Precision) -> None:
    tools = require('coremltools', 'format coreml')
    program = torch.export.export(ImageModel(network), (images,)).run_decompositions({})
    graph = program.graph_module.graph
    for node in [node for node in graph.nodes if node.target is torch.ops.aten.alias.default]:
        node.replace_all_uses_with(node.args[0])  # coremltools does not know this operator, which has no effect
        graph.erase_node(node)
    tools.convert(program, convert_to='mlprogram').save(str(path))


def _openvino(network: nn.Module, images: Tensor, path: Path, axes: Axes | None, precision: Precision) -> None:
    openvino = require('openvino', 'format openvino')
    with tempfile.TemporaryDirectory() as folder:
        written = FLOAT32 if precision.dtype == 'float16' else precision
        _onnx(network, images, Path(folder, 'network.onnx'), None, written)
        graph = openvino_core('format openvino').read_model(Path(folder, 'network.onnx'))
        openvino.save_model(graph, path, compress_to_fp16=precision.dtype == 'float16')


def _executorch(network: nn.Module, images: Tensor, path: Path, axes: Axes | None, _: Precision) -> None:
    path.write_bytes(executorch_program(ImageModel(network).eval(), images))


def _torchscript(network: nn.Module, images: Tensor, path: Path, axes: Axes | None, _: Precision) -> None:
    torch.jit.trace(network, images).save(str(path))


def _exported(network: nn.Module, images: Tensor, path: Path, axes: Axes | None, _: Precision) -> None:
    shapes = None if axes is None else (axes,)
    torch.export.save(torch.export.export(network, (images,), dynamic_shapes=shapes), path)


FORMATS: dict[str, Callable[[nn.Module, Tensor, Path, Axes | None, Precision], None]] = {
    'onnx': _onnx,
    'openvino': _openvino,
    'executorch': _executorch,
    'coreml': _coreml,
    'torchscript': _torchscript,
    'exported': _exported,
}
