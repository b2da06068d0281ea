"""Exported files as the networks that they are, run by what runs them on a device.

A network is a computation: it may have no end, ask for any memory, or end its process where a runtime believes what a
file says (ExecuTorch's believes much). So it runs in a process of its own, see :mod:`mmhybrid.apis.runtime_process`.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from mmhybrid.apis import runtime_process
from mmhybrid.apis.runtime_process import Size, receive, send
from mmhybrid.utils.checks import bad_value, check_choice, check_float
from mmhybrid.utils.errors import CannotGoOnError, first_line
from mmhybrid.utils.files import read_json
from mmhybrid.utils.optional import require

# Of elements in OpenVINO's files, which it reads by recursion, each layer of a body in a body being some.
DEEPEST = 100
# Within which a file has to be open, and to have computed a batch.
SECONDS = 600.0


@dataclass(frozen=True)
class Runtime:
    """What runs exported files.

    Args:
        module: Of Python, that it needs.
        endings: Of the names of files that it reads.
        look: What looks at a file before the runtime does: what it says of itself, None if the runtime is to tell.
    """

    module: str
    endings: tuple[str, ...]
    look: Callable[[Path], dict[str, str] | None]


class ExportedNetwork:
    """A file that takes one array and gives arrays, in a process that lives as long as this does.

    Args:
        path: The file.
        runtime: One of :data:`RUNTIMES`.
        seconds: Within which it has to be open, and to have computed what it is given.

    Attributes:
        metadata: What the file says of itself, see :func:`mmhybrid.apis.export_metadata.metadata_of`.
        input_name: Of the array that it takes.
        input_shape: Its sizes.

    Raises:
        ValueError: If there is no such file, the runtime cannot read it, or it takes more than one array.
    """

    def __init__(self, path: str | Path, runtime: str, seconds: float = SECONDS) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_late = False
        self.path = Path(path)
        self.seconds = check_float('seconds', seconds, 0, above=True)
        known = RUNTIMES[check_choice('runtime', runtime, tuple(RUNTIMES))]
        if not self.path.is_file():
            raise ValueError(f'{path} is not a file')
        if self.path.suffix not in known.endings:
            raise bad_value('file', str(path), f'a name ending in {" or ".join(known.endings)}')
        if find_spec(known.module) is None:
            require(known.module, f'the runtime {runtime}')
        try:
            metadata = known.look(self.path)
            self._begin(runtime)
            answer, _ = self._ask(None)
        except Exception as error:  # a parser may raise nearly anything
            self.close()
            raise ValueError(f'{path} cannot be read: {first_line(error)}') from error
        inputs = answer['inputs']
        if len(inputs) != 1:
            self.close()
            raise ValueError(f'{path} takes {", ".join(inputs)}, a network of mmhybrid takes images alone')
        self.input_name: str
        self.input_shape: list[Size]
        ((self.input_name, self.input_shape),) = inputs.items()
        told = {} if answer['told'] is None else answer['told']
        if not isinstance(told, dict):
            self.close()
            raise bad_value(f'{path}: rt_info: mmhybrid', told, 'names and values')
        self.metadata = {name: str(value) for name, value in told.items()} if metadata is None else metadata

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """What the network gives, by name, in its order.

        Raises:
            CannotGoOnError: If it gives nothing, within :attr:`seconds` or at all.
        """
        try:
            return self._ask(images)[1]
        except ValueError as error:
            raise CannotGoOnError(f'{self.path}: {first_line(error)}') from error

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def __del__(self) -> None:
        self.close()

    @property
    def is_end_to_end(self) -> bool:
        """Whether it takes photographs."""
        return self.input_name == 'image'

    def _begin(self, runtime: str) -> None:
        command = [sys.executable, runtime_process.__file__, runtime, str(self.path.resolve())]
        environment = {**os.environ, 'TORCH_DEVICE_BACKEND_AUTOLOAD': '0'}  # of which mmhybrid is one
        pipes: Any = {
            'env': environment,
            'stdin': subprocess.PIPE,
            'stdout': subprocess.PIPE,
            'stderr': subprocess.DEVNULL,
        }
        self._process = subprocess.Popen(command, **pipes)

    def _ask(self, images: np.ndarray | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Send an array, if there is one, and wait for what comes of it."""
        if self._process is None:
            raise ValueError('its process has ended')
        timer = threading.Timer(self.seconds, self._give_up)
        timer.start()
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            if images is not None:
                send(self._process.stdin, {}, {self.input_name: images})
            answer, arrays = receive(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            raise ValueError(self._end()) from error
        except BaseException:  # the user interrupts, or what comes is no answer: another would be out of step
            self.close()
            raise
        finally:
            timer.cancel()
        if 'error' in answer:
            raise ValueError(str(answer['error']))
        return answer, arrays

    def _give_up(self) -> None:
        self._is_late = True
        if self._process is not None:
            self._process.kill()

    def _end(self) -> str:
        """Why there is no process any more."""
        process = self._process
        assert process is not None
        self._process = None
        process.communicate()
        if self._is_late:
            return f'no answer within {self.seconds:g} s; a file that needs longer takes --timeout, another has no end'
        if process.returncode >= 0:
            return 'the runtime has ended without an answer'
        name = signal.Signals(-process.returncode).name
        return f'the runtime was ended by {name}; the file is damaged, was made to do that, or needs too much memory'


def open_network(path: str | Path, runtime: str, seconds: float = SECONDS) -> ExportedNetwork:
    """Read an exported file; see :class:`ExportedNetwork`."""
    return ExportedNetwork(path, runtime, seconds)


def _look_at_openvino(path: Path) -> dict[str, str] | None:
    if path.suffix == '.onnx':
        return _metadata_of_onnx(path)
    _check_xml(path)
    weights = path.resolve().with_suffix('.bin')
    if weights.is_symlink() and weights.resolve().parent != weights.parent:
        raise ValueError(f'{weights}: a link to another folder, whose file may be anything')
    return None


def _look_at_executorch(path: Path) -> dict[str, str]:
    """It says nothing of itself; a ``.json`` of the same name does."""
    beside = path.with_suffix('.json')
    return {name: str(value) for name, value in read_json(beside).items()} if beside.is_file() else {}


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


RUNTIMES = {
    'onnxruntime': Runtime('onnxruntime', ('.onnx',), _metadata_of_onnx),
    'openvino': Runtime('openvino', ('.onnx', '.xml'), _look_at_openvino),
    'executorch': Runtime('executorch', ('.pte',), _look_at_executorch),
}
