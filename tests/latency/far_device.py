"""A device in processes of its own, with a runtime and a clock of its own: runs take exactly as long as they should.

Environment variables say what the device is like. ``SPEED`` is that of its runs over :func:`milliseconds_of`, and
``THROTTLED`` after how many runs it gets to 60 % of it. After ``KILLED`` runs its process is killed. Each run is
written to ``RUNS``, a file.
"""

import os
import subprocess
import sys
from pathlib import Path

RUNTIME = """
import json, os, signal, time
from types import SimpleNamespace

seconds, runs = 0.0, 0
time.perf_counter = lambda: seconds
__version__ = '7.0'

def get_available_providers():
    return ['CPUExecutionProvider']

class SessionOptions:
    pass

class InferenceSession:
    def __init__(self, content, options, providers):
        assert providers == [('CPUExecutionProvider', {})] and options.intra_op_num_threads == 1
        self.network = json.loads(content)

    def get_inputs(self):
        return [SimpleNamespace(name='images')]

    def get_outputs(self):
        return [SimpleNamespace(name='logits')]

    def io_binding(self):
        def bind_cpu_input(name, images):
            assert list(images.shape) == self.network['shape']
            assert f'torch.{images.dtype}' == self.network['dtype']
        return SimpleNamespace(bind_cpu_input=bind_cpu_input, bind_output=lambda *arguments: None)

    def run_with_iobinding(self, binding):
        global seconds, runs
        if runs == int(os.environ.get('KILLED', -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        throttled = runs >= int(os.environ.get('THROTTLED', 10**9))
        speed = float(os.environ.get('SPEED', 1)) * (0.6 if throttled else 1)
        seconds += (6 + self.network['params'] / 1000) / 1000 / speed
        runs += 1
        if 'RUNS' in os.environ:
            with open(os.environ['RUNS'], 'a') as file:
                file.write(f"{self.network['params']} {self.network['sums'][0]}\\n")
"""


def make_device(folder: Path) -> dict[str, str]:
    """Put the runtime into a folder; the environment of processes on the device."""
    folder.mkdir()
    (folder / 'onnxruntime.py').write_text(RUNTIME)
    return {**os.environ, 'PYTHONPATH': str(folder), 'OMP_NUM_THREADS': '1'}


def run_there(
    bundle: Path, environment: dict[str, str], *arguments: str, **variables: object
) -> subprocess.CompletedProcess[str]:
    """How the program of a bundle ends on the device."""
    command = [sys.executable, 'measure.py', *arguments]
    told = {**environment, **{name: str(value) for name, value in variables.items()}}
    return subprocess.run(command, cwd=bundle, env=told, capture_output=True, text=True)
