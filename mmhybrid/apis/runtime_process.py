"""Runs an exported file in a process of its own, since the file may crash it, block it or use up memory.

    python runtime_process.py RUNTIME FILE

This script of runtimes.py needs only NumPy, the runtime and, for ONNX files, onnx, and imports nothing from mmhybrid.
Either side sends a line of JSON, followed by the bytes of the arrays that the line describes. A file is read once: what
was checked is what runs, whatever becomes of the file meanwhile, and its format is the one that its name says.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any
from xml.parsers import expat

import numpy as np

Size = int | None  # size of an axis; None if the file leaves it open
Arrays = Mapping[str, np.ndarray]
# Inputs of a file with their sizes, its metadata (None if they are not known here), and the function that runs it.
Opened = tuple[Mapping[str, list[Size]], Any, Callable[[np.ndarray], Arrays]]
# Largest nesting depth of elements in OpenVINO's files. OpenVINO reads them by recursion, and each layer within a body
# within a body is several elements deep.
DEEPEST = 100
PARENT_DEATH = 1  # Linux's PR_SET_PDEATHSIG
LONGEST_LINE = 2**24
MOST_BYTES = 2**34
NUMBERS = tuple(np.dtype(kind).str for kind in 'bBhHiIlL?efd')


def content_of(path: str) -> bytes:
    """Return the content of a file."""
    with open(path, 'rb') as file:
        return file.read()


def metadata_of_onnx(content: bytes) -> dict[str, str]:
    """Return what the content of an ONNX file says of itself.

    Raises:
        ValueError: If a tensor's values are elsewhere. That may be an address in memory, which OpenVINO reads from.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    left = [model]
    while left:
        message = left.pop()
        if isinstance(message, onnx.TensorProto):
            if message.external_data or message.data_location == onnx.TensorProto.EXTERNAL:
                allowed = 'values in the file itself, as mmhybrid export writes them'
                raise ValueError(f'a tensor: got {message.name!r}, allowed: {allowed}')
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                left += [value] if hasattr(value, 'ListFields') else value
    return {entry.key: entry.value for entry in model.metadata_props}


def open_onnxruntime(path: str) -> Opened:
    """Open an ONNX file with ONNX Runtime."""
    import onnxruntime

    content = content_of(path)
    told = metadata_of_onnx(content)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised anyway
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    given, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    inputs = {each.name: [size if isinstance(size, int) else None for size in each.shape] for each in given}

    def run(images: np.ndarray) -> Arrays:
        return dict(zip(outputs, session.run(outputs, {given[0].name: images}), strict=True))

    return inputs, told, run


def open_openvino(path: str) -> Opened:
    """Open an ONNX file, or one of OpenVINO's own format, with OpenVINO in float32."""
    import openvino

    content, about, weights = content_of(path), None, b''
    if path.endswith('.onnx'):
        about = metadata_of_onnx(content)
    else:
        check_xml(content)
        weights = weights_beside(path)
    core = openvino.Core()
    model = core.read_model(content, weights)
    compiled = core.compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    inputs = {
        given.any_name: [size.get_length() if size.is_static else None for size in given.partial_shape]
        for given in model.inputs
    }
    told = model.get_rt_info(['mmhybrid']).value if model.has_rt_info(['mmhybrid']) else None
    told = told if about is None else about

    def run(images: np.ndarray) -> Arrays:
        found = compiled({0: images})
        return {f'{place}' if not port.names else port.any_name: found[port] for place, port in enumerate(found)}

    return inputs, told, run


def check_xml(content: bytes) -> None:
    """Raise ValueError for a file that is nested too deeply, or is not XML and would be read as another format."""
    parser, depth = expat.ParserCreate(), 0

    def start(name: str, _attributes: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f'depth of elements: got {depth}, allowed: at most {DEEPEST}')

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def declare(*_declaration: object) -> None:
        raise ValueError('it declares a document type')

    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = start, end, declare
    parser.Parse(content, True)


def weights_beside(path: str) -> bytes:
    """Return the content of the ``.bin`` beside an ``.xml``, which may be a link itself; empty if there is none.

    Raises:
        ValueError: If it is a link to another folder.
    """
    weights = f'{os.path.splitext(os.path.realpath(path))[0]}.bin'
    place = os.path.realpath(weights)
    if os.path.dirname(place) != os.path.dirname(weights):
        raise ValueError(f'{weights}: a link to another folder, whose file may be anything')
    try:
        number = os.open(place, os.O_RDONLY | getattr(os, 'O_NOFOLLOW', 0))  # it may have become a link
    except FileNotFoundError:
        return b''
    with open(number, 'rb') as file:
        return file.read()


def open_executorch(path: str) -> Opened:
    """Open a ``.pte`` file with ExecuTorch."""
    import torch
    from executorch.runtime import Runtime

    content = content_of(path)
    program = Runtime.get().load_program(content)
    method = program.load_method('forward')
    about = method.metadata
    inputs = {f'images {place}': list(about.input_tensor_meta(place).sizes()) for place in range(about.num_inputs())}

    def run(images: np.ndarray, needed: object = (content, program)) -> Arrays:  # a method keeps no reference to them
        return {f'{place}': array.numpy() for place, array in enumerate(method.execute([torch.from_numpy(images)]))}

    return inputs, None, run


RUNTIMES: dict[str, Callable[[str], Opened]] = {
    'onnxruntime': open_onnxruntime,
    'openvino': open_openvino,
    'executorch': open_executorch,
}


def send(stream: IO[bytes], head: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a line of JSON and the arrays that it describes."""
    kinds = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    stream.write(json.dumps({**head, 'arrays': kinds}, default=str).encode() + b'\n')
    for array in arrays.values():
        stream.write(np.ascontiguousarray(array).tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what :func:`send` wrote.

    Raises:
        ValueError: If the content is anything else.
        EOFError: If the other side has ended.
    """
    line = stream.readline(LONGEST_LINE)
    if not line.endswith(b'\n'):
        raise EOFError
    head = json.loads(line)
    arrays = {}
    for name, kind, shape in head.pop('arrays'):
        if kind not in NUMBERS or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f'{name!r} is not an array of numbers')
        length = math.prod(shape) * np.dtype(kind).itemsize
        if length > MOST_BYTES:
            raise ValueError(f'{name!r} has {length} bytes, allowed: at most {MOST_BYTES}')
        content = stream.read(length)
        if len(content) < length:
            raise EOFError
        arrays[name] = np.frombuffer(bytearray(content), kind).reshape(shape)
    return head, arrays


def limit_process() -> None:
    """Limit memory to that of the machine, be the first process to end if memory is scarce, and end with the parent."""
    if sys.platform != 'linux':
        return
    import ctypes
    import resource
    import signal

    ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGKILL)
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    with suppress(ValueError, OSError):  # there is a lower limit already
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError), open('/proc/self/oom_score_adj', 'w') as score:
        score.write('1000')


def main(runtime: str, path: str) -> None:
    """Open the file, report its inputs, and run it on each array that arrives."""
    limit_process()
    answers, quiet = os.fdopen(os.dup(1), 'wb'), os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # runtimes log names from the file, which may hold control characters for the terminal
        os.dup2(quiet, stream)
    try:
        inputs, told, run = RUNTIMES[runtime](path)
    except BaseException as error:  # runtimes have error classes of their own
        send(answers, {'error': f'{error}' or type(error).__name__}, {})
        return
    send(answers, {'inputs': inputs, 'told': told}, {})
    while True:
        try:
            _, images = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            found = run(*images.values())
            wrong = [
                name for name, array in found.items() if getattr(array, 'dtype', np.dtype(object)).str not in NUMBERS
            ]
            if wrong:
                raise ValueError(f'{wrong[0]!r} is not an array of numbers')
        except BaseException as error:
            send(answers, {'error': f'{error}' or type(error).__name__}, {})
        else:
            send(answers, {}, found)


if __name__ == '__main__':
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path != here]  # its modules have the names of other packages' modules
    main(*sys.argv[1:])
