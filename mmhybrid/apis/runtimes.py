"""Exported files as the networks that they are, run by what runs them on a device."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
import torch

from mmhybrid.utils.checks import bad_value, check_choice
from mmhybrid.utils.errors import first_line
from mmhybrid.utils.files import read_json
from mmhybrid.utils.optional import require

# Of elements in OpenVINO's files, which it reads by recursion, each layer of a body in a body being some.
DEEPEST = 100
Size = int | None  # of an axis; None if the file leaves it open


class ExportedNetwork(ABC):
    """A file that takes one array and gives arrays.

    Args:
        path: The file.

    Attributes:
        endings: Of the names of files that the runtime reads.
        metadata: What the file says of itself, see :func:`mmhybrid.apis.export_metadata.metadata_of`.
        input_name: Of the array that it takes.
        input_shape: Its sizes.

    Raises:
        ValueError: If there is no such file, the runtime cannot read it, or it takes more than one array.
    """

    endings: tuple[str, ...]

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f'{path} is not a file')
        if self.path.suffix not in self.endings:
            raise bad_value('file', str(path), f'a name ending in {" or ".join(self.endings)}')
        try:
            inputs = self.open()
        except Exception as error:  # each runtime has errors of its own
            raise ValueError(f'{path} cannot be read: {first_line(error)}') from error
        if len(inputs) != 1:
            raise ValueError(f'{path} takes {", ".join(inputs)}, a network of mmhybrid takes images alone')
        ((self.input_name, self.input_shape),) = inputs.items()
        self.metadata = self.read_metadata()

    @abstractmethod
    def open(self) -> dict[str, list[Size]]:
        """Read the file; the sizes of what it takes, by name."""

    @abstractmethod
    def read_metadata(self) -> dict[str, str]:
        """What the file says of itself."""

    @abstractmethod
    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """What the network gives, by name, in its order."""

    @property
    def is_end_to_end(self) -> bool:
        """Whether it takes photographs."""
        return self.input_name == 'image'


class OnnxRuntimeNetwork(ExportedNetwork):
    """An ONNX file on ONNX Runtime."""

    endings = ('.onnx',)

    def open(self) -> dict[str, list[Size]]:
        """See :class:`ExportedNetwork`."""
        runtime = require('onnxruntime', 'the runtime onnxruntime')
        self.told = _metadata_of_onnx(self.path)
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # errors are raised too, and a terminal obeys what their names may hold
        self.session = runtime.InferenceSession(str(self.path), options, providers=['CPUExecutionProvider'])
        self.outputs = [output.name for output in self.session.get_outputs()]
        return {
            given.name: [size if isinstance(size, int) else None for size in given.shape]
            for given in self.session.get_inputs()
        }

    def read_metadata(self) -> dict[str, str]:
        """See :class:`ExportedNetwork`."""
        return self.told

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """See :class:`ExportedNetwork`."""
        return dict(zip(self.outputs, self.session.run(self.outputs, {self.input_name: images}), strict=True))


class OpenVinoNetwork(ExportedNetwork):
    """An ONNX file, or OpenVINO's own (``.xml`` with a ``.bin`` beside it), on OpenVINO in float32."""

    endings = ('.onnx', '.xml')

    def open(self) -> dict[str, list[Size]]:
        """See :class:`ExportedNetwork`."""
        core = require('openvino', 'the runtime openvino').Core()
        self.told: dict[str, str] = {}
        if self.path.suffix == '.onnx':
            self.told = _metadata_of_onnx(self.path)
        else:
            _check_xml(self.path)
        self.model = core.read_model(str(self.path))
        self.compiled = core.compile_model(self.model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
        return {
            given.any_name: [size.get_length() if size.is_static else None for size in given.partial_shape]
            for given in self.model.inputs
        }

    def read_metadata(self) -> dict[str, str]:
        """See :class:`ExportedNetwork`."""
        if self.path.suffix == '.onnx' or not self.model.has_rt_info(['mmhybrid']):
            return self.told
        told = self.model.get_rt_info(['mmhybrid']).value
        if not isinstance(told, dict):
            raise bad_value(f'{self.path}: rt_info: mmhybrid', told, 'names and values')
        return {name: str(value) for name, value in told.items()}

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """See :class:`ExportedNetwork`."""
        found = self.compiled({0: images})
        return {f'{place}' if not port.names else port.any_name: found[port].copy() for place, port in enumerate(found)}


class ExecuTorchNetwork(ExportedNetwork):
    """A ``.pte`` file on ExecuTorch; what it says of itself is in a ``.json`` of the same name."""

    endings = ('.pte',)

    def open(self) -> dict[str, list[Size]]:
        """See :class:`ExportedNetwork`."""
        runtime = require('executorch.runtime', 'the runtime executorch').Runtime.get()
        self.program = runtime.load_program(self.path)
        self.method = self.program.load_method('forward')
        about = self.method.metadata
        return {f'images {place}': list(about.input_tensor_meta(place).sizes()) for place in range(about.num_inputs())}

    def read_metadata(self) -> dict[str, str]:
        """See :class:`ExportedNetwork`."""
        beside = self.path.with_suffix('.json')
        return {name: str(value) for name, value in read_json(beside).items()} if beside.is_file() else {}

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """See :class:`ExportedNetwork`."""
        found = self.method.execute([torch.from_numpy(images)])
        return {f'{place}': array.numpy().copy() for place, array in enumerate(found)}


RUNTIMES: dict[str, type[ExportedNetwork]] = {
    'onnxruntime': OnnxRuntimeNetwork,
    'openvino': OpenVinoNetwork,
    'executorch': ExecuTorchNetwork,
}


def open_network(path: str | Path, runtime: str) -> ExportedNetwork:
    """Read an exported file.

    Args:
        path: The file.
        runtime: One of :data:`RUNTIMES`.

    Raises:
        ValueError: If the runtime is unknown or cannot read the file.
    """
    return RUNTIMES[check_choice('runtime', runtime, tuple(RUNTIMES))](path)


def _check_xml(path: Path) -> None:
    """Raise ValueError for what is no XML, which OpenVINO would read as another format, or is nested too deeply."""
    parser, depth = expat.ParserCreate(), 0

    def start(name: str, _attributes: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise bad_value('depth of elements', depth, f'at most {DEEPEST}')

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def declare(*_declaration: object) -> None:
        raise ValueError('it declares a document type')

    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = start, end, declare
    with path.open('rb') as file:
        parser.ParseFile(file)


def _metadata_of_onnx(path: Path) -> dict[str, str]:
    """What an ONNX file says of itself.

    Raises:
        ValueError: If a tensor's values are elsewhere. That may be an address in memory, which OpenVINO reads from.
    """
    onnx: Any = require('onnx', 'metadata of onnx')
    model = onnx.load(path, load_external_data=False)
    left = [model]
    while left:
        message = left.pop()
        if isinstance(message, onnx.TensorProto):
            if message.external_data or message.data_location == onnx.TensorProto.EXTERNAL:
                raise bad_value('a tensor', message.name, 'values in the file itself, as mmhybrid export writes them')
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                left += [value] if hasattr(value, 'ListFields') else value
    return {entry.key: entry.value for entry in model.metadata_props}
