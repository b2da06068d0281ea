"""Exported files as networks, run by the runtimes that run them on devices.

A network from a file may run forever, ask for any amount of memory, or crash its process if the runtime trusts the file
(ExecuTorch does so in many places). Each file is therefore run in a process of its own, see
:mod:`mmhybrid.apis.runtime_process`.
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

import numpy as np

from mmhybrid.apis import runtime_process
from mmhybrid.apis.runtime_process import Size, receive, send
from mmhybrid.utils.checks import bad_value, check_choice, check_float
from mmhybrid.utils.current_folder import SAFE
from mmhybrid.utils.errors import CannotGoOnError, first_line
from mmhybrid.utils.files import read_json
from mmhybrid.utils.optional import require

# Default time limit for opening a file, and for computing a batch.
SECONDS = 600.0


@dataclass(frozen=True)
class Runtime:
    """A runtime of exported files.

    Args:
        module: Name of the Python module that it needs.
        endings: File name suffixes that it reads.
        look: Function that checks a file before the runtime opens it. It returns the file's metadata, or None if the
            runtime provides them.
    """

    module: str
    endings: tuple[str, ...]
    look: Callable[[Path], dict[str, str] | None]


class ExportedNetwork:
    """A network in a file that takes one array and returns arrays.

    It runs in a process that lives as long as the object.

    Args:
        path: Path of the file.
        runtime: One of :data:`RUNTIMES`.
        seconds: Time limit for opening the file, and for each computation.

    Attributes:
        metadata: Metadata of the file, see :func:`mmhybrid.apis.export_metadata.metadata_of`.
        input_name: Name of the input.
        input_shape: Sizes of the input's axes.

    Raises:
        ValueError: If the file does not exist, the runtime cannot read it, or it takes more than one array.
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
        except Exception as error:  # parsers may raise nearly anything
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
        """Return the outputs of the network by name, in the network's order.

        Raises:
            CannotGoOnError: If it fails, or does not answer within :attr:`seconds`.
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
        """Whether the network takes photographs."""
        return self.input_name == 'image'

    def _begin(self, runtime: str) -> None:
        command = [sys.executable, runtime_process.__file__, runtime, str(self.path.absolute())]
        environment = {**os.environ, 'TORCH_DEVICE_BACKEND_AUTOLOAD': '0'}  # mmhybrid is such a backend
        pipes: Any = {
            'cwd': SAFE,  # ExecuTorch imports torch there
            'env': environment,
            'stdin': subprocess.PIPE,
            'stdout': subprocess.PIPE,
            'stderr': subprocess.DEVNULL,
        }
        self._process = subprocess.Popen(command, **pipes)

    def _ask(self, images: np.ndarray | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Send an array, if there is one, and wait for the answer."""
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
        except BaseException:  # after an interruption or an invalid answer, the next answer would be out of step
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
        """Return the reason why the process has ended."""
        process = self._process
        assert process is not None
        self._process = None
        process.communicate()
        if self._is_late:
            return f'no answer within {self.seconds:g} s; a larger --timeout helps, unless the file never ends'
        if process.returncode >= 0:
            return 'the runtime has ended without an answer'
        name = signal.Signals(-process.returncode).name
        return f'the runtime was ended by {name}; the file is damaged, was made to do that, or needs too much memory'


def open_network(path: str | Path, runtime: str, seconds: float = SECONDS) -> ExportedNetwork:
    """Open an exported file, see :class:`ExportedNetwork`."""
    return ExportedNetwork(path, runtime, seconds)


def _look_at_openvino(path: Path) -> None:
    if path.suffix == '.onnx':
        _look_at_onnx(path)


def _look_at_executorch(path: Path) -> dict[str, str]:
    """Return the metadata, which are in a ``.json`` of the same name, since the file itself has none."""
    beside = path.with_suffix('.json')
    return {name: str(value) for name, value in read_json(beside).items()} if beside.is_file() else {}


def _look_at_onnx(_path: Path) -> None:
    """Leave the file to its process, since a small one may hold nodes that take gigabytes."""
    require('onnx', 'metadata of onnx')


RUNTIMES = {
    'onnxruntime': Runtime('onnxruntime', ('.onnx',), _look_at_onnx),
    'openvino': Runtime('openvino', ('.onnx', '.xml'), _look_at_openvino),
    'executorch': Runtime('executorch', ('.pte',), _look_at_executorch),
}
