"""Networks in the formats that other programs run."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmhybrid.utils.checks import check_choice, check_int, check_list
from mmhybrid.utils.optional import require


class TensorModel(nn.Module):
    """A model of OpenMMLab as a function from images to the outputs of its heads."""

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> object:
        """(B, C, H, W), normalised as in training -> what the model's tensor mode gives; logits of a classifier."""
        return self.model(images, mode='tensor')


def export_model(model: nn.Module, input_shape: Sequence[int], path: str | Path, file_format: str) -> None:
    """Write a network, whole or not at all.

    Args:
        model: A model of OpenMMLab, or any module that takes images. It is put into eval mode.
        input_shape: (B, C, H, W), which the file is made for.
        path: The file; a folder for ``coreml`` (``.mlpackage``).
        file_format: One of :data:`FORMATS`.

    Raises:
        ValueError: If the format is unknown, the shape is not four positive ints, the folder does not exist, or the
            package that writes the format is missing.
    """
    check_choice('format', file_format, tuple(FORMATS))
    shape = [check_int('input_shape', size, 1) for size in check_list('input_shape', input_shape, 4)]
    path = Path(path)
    if not path.resolve().parent.is_dir():
        raise ValueError(f'{path}: its folder does not exist')
    network = TensorModel(model) if isinstance(model, BaseModel) else model
    images = torch.rand(*shape)
    with tempfile.TemporaryDirectory(dir=path.resolve().parent, prefix=f'.{path.name}.') as folder, torch.no_grad():
        # coremltools wants the ending of its packages
        draft = Path(folder) / (path.name if path.suffix else f'{path.name}.mlpackage')
        FORMATS[file_format](network.eval(), images, draft)
        os.replace(draft, path)


def _onnx(network: nn.Module, images: Tensor, path: Path) -> None:
    for package in ('onnx', 'onnxscript'):
        require(package, 'format onnx')
    torch.onnx.export(network, (images,), path, dynamo=True, external_data=False, input_names=['images'], verbose=False)


def _coreml(network: nn.Module, images: Tensor, path: Path) -> None:
    tools = require('coremltools', 'format coreml')
    traced = torch.jit.trace(network, images)
    inputs = [tools.TensorType(name='images', shape=tuple(images.shape))]
    tools.convert(traced, inputs=inputs, convert_to='mlprogram').save(str(path))


def _torchscript(network: nn.Module, images: Tensor, path: Path) -> None:
    torch.jit.trace(network, images).save(str(path))


def _exported(network: nn.Module, images: Tensor, path: Path) -> None:
    torch.export.save(torch.export.export(network, (images,)), path)


FORMATS: dict[str, Callable[[nn.Module, Tensor, Path], None]] = {
    'onnx': _onnx,
    'coreml': _coreml,
    'torchscript': _torchscript,
    'exported': _exported,
}
