"""Networks in the formats that other programs run.

This file is a long one, since the formats are read beside each other.
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

# How names of files have to end that a runtime opens; Core ML's are folders.
ENDINGS = {'coreml': '.mlpackage', 'openvino': '.xml', 'executorch': '.pte'}
WEIGHTS = '.bin'  # beside an .xml


class TensorModel(nn.Module):
    """A model of OpenMMLab as a function from images to the outputs of its heads."""

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> object:
        """(B, C, H, W), normalised as in training -> what the model's tensor mode gives; logits of a classifier."""
        return self.model(images, mode='tensor')


class HalfModel(nn.Module):
    """A network in float16 as a function of images in float32, whose outputs are in float32 too."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, images: Tensor) -> object:
        """(B, C, H, W) -> what the network gives."""
        outputs = self.network(images.half())
        return tree_map(Tensor.float, outputs)


class ImageModel(nn.Module):
    """Any network as a function of an input named ``images``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> object:
        """(B, C, H, W) -> what the network gives."""
        return self.network(images)


DTYPES = ('float32', 'float16', 'int8')
# Formats of files in others than float32.
DTYPE_FORMATS = ('onnx', 'openvino')
DYNAMIC_FORMATS = ('onnx', 'exported')
STRIDE = 32  # sides of images of any size are multiples of it
Axes = dict[int, Any]
# Axes of the images that a file leaves open, by what they are called on the command line.
DYNAMIC: dict[str, dict[int, str]] = {
    'batch': {0: 'batch'},
    'size': {2: 'height', 3: 'width'},
    'both': {0: 'batch', 2: 'height', 3: 'width'},
}


@dataclass(frozen=True)
class Precision:
    """What a file stores weights as, and computes in where its runtime can.

    Args:
        dtype: One of :data:`DTYPES`; ``int8`` is that of layers with weights, see
            :mod:`mmhybrid.latency.quantization`. Images and outputs are in float32 with each.
        images: (N, C, H, W), of training, as the network takes them: the ranges of int8 are found on them.
        kept: What an int8 file keeps in float32, of :func:`mmhybrid.latency.quantization.groups_of`.

    Raises:
        ValueError: If the dtype is unknown, ``int8`` without images, or a name in ``kept`` unknown.
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
        """Put an ONNX file in int8, which takes ``batch`` images at once, in the place of one in float32."""
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
    """Write a network, whole or not at all; what was there before is replaced, a device or a pipe written to.

    Args:
        model: A model of OpenMMLab, or any module that takes images. It is put into eval mode.
        input_shape: (B, C, H, W), which the file is made for.
        path: The file; a folder for ``coreml``. Some formats want an ending, see :data:`ENDINGS`; OpenVINO's
            weights are beside it, in a file that ends in ``.bin``.
        file_format: One of :data:`FORMATS`.
        dynamic: One of :data:`DYNAMIC` for a file that takes other shapes too, where the format and the network can.
        precision: Of weights; other than float32 where the format can.

    Raises:
        ValueError: If the format is unknown or needs a newer torch, the shape is not four positive ints, the folder
            does not exist, the path is a folder that no export has written, the package that writes the format is
            missing, the network is a two-stage detector, it or the format cannot leave open what is asked for, or the
            format has no such precision.
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
            os.replace(place, Path(folder, 'before'))  # a folder does not replace another that has something in it
        weights = draft.with_suffix(WEIGHTS)
        if file_format == 'openvino':
            os.replace(weights, place.with_suffix(WEIGHTS))
        os.replace(draft, place)


def check_dtype(dtype: str, file_format: str) -> None:
    """Raise ValueError for a dtype that files of a format are not written in."""
    if dtype != 'float32' and file_format not in DTYPE_FORMATS:
        allowed = f'float32 for the format {file_format}; {" and ".join(DTYPE_FORMATS)} take it'
        raise bad_value('dtype', dtype, allowed)


def check_one_stage(model: nn.Module) -> None:
    """Raise ValueError for a two-stage detector, of which there is no file."""
    if hasattr(model, 'roi_head'):
        raise ValueError(
            f'{type(model).__name__} is a two-stage detector: its second stage runs on boxes that the first one '
            'chooses, which is no function from images to tensors; MMDeploy exports it'
        )


def _check_pooling(model: nn.Module) -> None:
    """Raise ValueError for a layer that would keep the regions of the size that it is exported at."""
    for name, module in model.named_modules():
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size not in (1, (1, 1)):
            raise ValueError(
                f'dynamic: {name} averages over {module.output_size} regions, of which files know one size; leave '
                'open the batch alone, or nothing'
            )


def _write(
    network: nn.Module, images: Tensor, path: Path, file_format: str, dynamic: str | None, precision: Precision
) -> None:
    if dynamic is None:
        FORMATS[file_format](network, images, path, None, precision)
        return
    if len(images) == 1 and 'batch' in DYNAMIC[dynamic].values():
        images = images.repeat(2, 1, 1, 1)  # torch.export takes an axis of one for one that never varies
    from torch.export import Dim  # torch 2.1 has none

    # sides are multiples of the largest stride, or every rounding on the way would be a case of its own
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
    """Let MMSegmentation's ``Upsample`` multiply sizes by whole numbers meanwhile.

    It makes ints of products with a float, which torch.export takes for numbers that never vary: the file would go on
    with the size that it was exported at, and FPNHead resizes what comes of it, so that nothing fails.
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
        node.replace_all_uses_with(node.args[0])  # coremltools does not know this operator, which does nothing
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
