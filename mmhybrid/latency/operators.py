"""The latency of an exported network by the operators of its runtime.

Runtimes profile by the wall clock, which includes times when other processes use the processor. For each operator, the
pass in which it was fastest counts.
"""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from mmhybrid.latency.on_device import openvino_settings, provider_of

WARMUP = 2


def onnxruntime_operators(
    content: bytes, images: NDArray[Any], device: str, dtype: str, threads: int, runs: int
) -> dict[str, float]:
    """Return the milliseconds of each operator of ONNX Runtime; a fused operator counts under its new name."""
    runtime: Any = import_module('onnxruntime')
    with TemporaryDirectory() as folder:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder, 'profile'))
        session = runtime.InferenceSession(content, options, providers=[provider_of(device, dtype)])
        for _ in range(WARMUP + runs):
            session.run(None, {session.get_inputs()[0].name: images})
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event for event in events if event['cat'] == 'Node' and event['name'].endswith('_kernel_time')]
    found = [(node['args']['op_name'], node['dur'] / 1e3) for node in sorted(nodes, key=lambda node: node['ts'])]
    length = len(found) // (WARMUP + runs)  # each pass runs the same operators in the same order
    passes = [found[start : start + length] for start in range(0, len(found), length)]
    return _fastest(passes[WARMUP:])


def openvino_operators(
    core: Any, content: bytes, images: NDArray[Any], dtype: str, threads: int, runs: int
) -> dict[str, float]:
    """Return the milliseconds of each operator of OpenVINO; a fused operator counts under the name of its first one."""
    settings = {**openvino_settings(dtype, threads), 'PERF_COUNT': True}
    request = core.compile_model(core.read_model(content), 'CPU', settings).create_infer_request()
    passes = []
    for _ in range(WARMUP + runs):
        request.infer({0: images})
        found = [(info.node_type, info.real_time.total_seconds() * 1e3) for info in request.profiling_info]
        passes.append(found)
    return {kind: milliseconds for kind, milliseconds in _fastest(passes[WARMUP:]).items() if milliseconds}


def _fastest(passes: Sequence[Sequence[tuple[str, float]]]) -> dict[str, float]:
    """Return the milliseconds of each kind, longest first; of each operator, its fastest pass counts."""
    total: dict[str, float] = {}
    for operator in zip(*passes, strict=True):
        kind, milliseconds = operator[0][0], min(milliseconds for _, milliseconds in operator)
        total[kind] = total.get(kind, 0.0) + milliseconds
    return dict(sorted(total.items(), key=lambda item: -item[1]))
