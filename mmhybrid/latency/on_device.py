"""Time the networks beside this file on this machine, and write their latencies into timings.json.

    python3 measure.py

It needs the runtime of the networks and what that runtime depends on. If it is interrupted, the same command continues.
The file is long because it is the only program that is copied to a machine beside the networks.
"""

from __future__ import annotations  # some devices have Python 3.8

import sys

if __name__ == '__main__':  # before any other import: what lies beside the networks may have the name of a module
    import os

    _here = os.path.realpath(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [path for path in sys.path if os.path.realpath(path or os.curdir) != _here]

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from mmhybrid.latency.memory import kept_memory

# Runs of each network in a round.
RUNS = 3
LONGEST_PAUSE = 86400  # seconds, a day
# File with the name of a board, such as a Raspberry Pi or a Jetson.
BOARD = Path('/proc/device-tree/model')
MANIFEST, TIMINGS = 'manifest.json', 'timings.json'
# Execution providers of ONNX Runtime by device. The provider for TensorRT is part of its packages for GPUs.
PROVIDERS = {
    'cpu': 'CPUExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'tensorrt': 'TensorrtExecutionProvider',
}
GPUS = ('cuda', 'tensorrt')  # the devices that are an NVIDIA GPU
# OpenVINO's names of the data types. An int8 file itself says which of its layers are int8; the rest is float32.
PRECISIONS = {'float32': 'f32', 'bfloat16': 'bf16', 'int8': 'f32'}


class MistakeError(Exception):
    """A mistake that a user can correct; the message says how in one sentence."""


def time_round(jobs: Sequence[Any], times: Callable[[Any, int], Any]) -> list[float]:
    """Return the milliseconds of each job, each of which runs three times.

    The first run flushes what the previous job left in the caches and does not count; the faster of the other two does.

    Args:
        jobs: The networks.
        times: Function that runs a job a given number of times and returns the milliseconds of each run.
    """
    return [min(times(job, RUNS)[1:]) for job in jobs]


def add_rounds(
    rounds: list[list[float]],
    run_round: Callable[[], list[float]],
    repeats: int,
    warmup: int,
    tick: Callable[[], object],
) -> None:
    """Run the rounds that are missing up to ``repeats``, after some that warm up; ``tick`` is called after each."""
    for _ in range(warmup):
        run_round()
    while len(rounds) < repeats:
        rounds.append(run_round())
        tick()


def image_dtype(dtype: str) -> str:
    """Return the data type of a network's images; a network in int8 takes and returns float32."""
    return 'float32' if dtype == 'int8' else dtype


def provider_of(device: str, dtype: str) -> tuple[str, dict[str, str]]:
    """Return ONNX Runtime's execution provider for a device, and its options.

    TensorRT builds an engine for each network, which takes minutes. It keeps the timings of its kernels in a file, so
    that it times each kernel only once.

    Args:
        device: Name of the device, one of :data:`PROVIDERS`.
        dtype: Data type of weights and images.
    """
    options: dict[str, str] = {}
    if device == 'tensorrt':
        options = {'trt_fp16_enable': str(dtype == 'float16'), 'trt_int8_enable': str(dtype == 'int8')}
        cache = os.environ.get('XDG_CACHE_HOME')
        folder = (Path(cache) if cache else Path.home() / '.cache') / 'mmhybrid/tensorrt'
        with suppress(OSError):  # the home folder may be read-only; kernels are then timed for each network
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            options |= {'trt_timing_cache_enable': 'True', 'trt_timing_cache_path': str(folder)}
    return PROVIDERS[device], options


def load_onnxruntime(content: bytes, images: Any, device: str, dtype: str, threads: int) -> Callable[[], object]:
    """Return a job that runs an ONNX file once on ONNX Runtime; images (an array) and outputs stay on the device."""
    runtime: Any = import_module('onnxruntime')
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = runtime.InferenceSession(content, options, providers=[provider_of(device, dtype)])
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, images)
    for output in session.get_outputs():
        binding.bind_output(output.name, 'cuda' if device in GPUS else device)

    def job() -> object:
        session.run_with_iobinding(binding)
        return binding

    return job


def openvino_settings(dtype: str, threads: int) -> dict[str, Any]:
    """Return the settings with which OpenVINO runs one network at a time in the precision of a dtype."""
    settings = {'INFERENCE_NUM_THREADS': threads, 'NUM_STREAMS': 1, 'PERFORMANCE_HINT': 'LATENCY'}
    return {**settings, 'INFERENCE_PRECISION_HINT': PRECISIONS[dtype]}


def load_openvino(core: Any, content: bytes, images: Any, dtype: str, threads: int) -> Callable[[], object]:
    """Return a job that runs an ONNX file once on OpenVINO; ``core`` lives as long as the process."""
    compiled = core.compile_model(core.read_model(content), 'CPU', openvino_settings(dtype, threads))
    request = compiled.create_infer_request()
    return lambda: request.infer({0: images}, share_inputs=True, share_outputs=True)


def load_executorch(content: bytes, images: Any, threads: int) -> Callable[[], object]:
    """Return a job that runs a ``.pte`` file once on ExecuTorch, whose package needs torch."""
    library: Any = import_module('executorch.extension.pybindings.portable_lib')
    if library._threadpool_get_thread_count() != threads:
        # the pool belongs to the process, and methods that were loaded earlier crash
        library._unsafe_reset_threadpool(threads)
    program = import_module('executorch.runtime').Runtime.get().load_program(content)
    method, tensor = program.load_method('forward'), import_module('torch').from_numpy(images)

    def job(needed: object = (content, program)) -> object:  # a method reads both but keeps no reference to them
        return method.execute([tensor])

    return job


def processor_name() -> str:
    """Return the name of the processor, or of the board or phone if the system names no processor."""
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    if names:
        return names[0]
    if BOARD.is_file():
        return BOARD.read_text().strip('\0\n ')
    phone = _answer('getprop', 'ro.product.model') if shutil.which('getprop') else ''
    return phone or platform.processor() or platform.machine()


def power_mode() -> dict[str, str]:
    """Return the power mode of a Jetson, which decides its speed, from ``nvpmodel``; empty on other machines."""
    mode = _answer('nvpmodel', '-q')
    return {'nvpmodel': mode} if mode else {}


class Runtime:
    """Base class of the runtimes that run the networks of a bundle.

    Args:
        device: The manifest's device: ``backend``, ``device``, ``dtype``, ``threads`` and ``clock``.

    Attributes:
        thread_clock: Clock, in seconds, that stops while this process does not work for a network.

    Raises:
        MistakeError: If the runtime is not installed, or this machine lacks something that it needs.
    """

    thread_clock = staticmethod(time.thread_time)

    def __init__(self, device: dict[str, Any]) -> None:
        self.device = device
        self.threads: int = device['threads']
        self.name: str = device['backend']
        try:
            self.module: Any = import_module(self.name)
            self.numpy: Any = import_module('numpy')
        except ImportError as error:
            raise MistakeError(f'{error}; pip install {self.name}') from error
        self.clock = self.thread_clock if device['clock'] == 'thread' else time.perf_counter

    def load(self, content: bytes, shape: Sequence[int]) -> Callable[[], object]:
        """Return a job that runs a file's network once on random images."""
        raise NotImplementedError

    def images(self, shape: Sequence[int], dtype: str = 'float32') -> Any:
        """Return an array of random values."""
        return self.numpy.random.default_rng(0).random(shape, dtype='float32').astype(dtype)

    def times(self, job: Callable[[], object], runs: int) -> list[float]:
        """Return the milliseconds of each of ``runs`` successive runs."""
        milliseconds = []
        for _ in range(runs):
            start = self.clock()
            job()
            milliseconds.append((self.clock() - start) * 1e3)
        return milliseconds

    def described(self) -> dict[str, Any]:
        """Return the device with its name and its versions."""
        versions = {**self.device['versions'], 'python': platform.python_version(), self.name: self._version()}
        name = processor_name()
        if self.device['device'] in GPUS:
            name = _answer('nvidia-smi', '--query-gpu=name', '--format=csv,noheader') or name
            versions.update(power_mode())
        return {**self.device, 'name': name, 'versions': versions}

    def _version(self) -> str:
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:  # another package provides the module, such as onnxruntime-gpu
            return str(getattr(self.module, '__version__', 'unknown'))


class OnnxRuntime(Runtime):
    """ONNX Runtime."""

    def __init__(self, device: dict[str, Any]) -> None:
        super().__init__(device)
        able = self.module.get_available_providers()
        if PROVIDERS[device['device']] not in able:
            raise MistakeError(f'device: got {device["device"]}, this onnxruntime has {", ".join(able)} alone')

    def load(self, content: bytes, shape: Sequence[int]) -> Callable[[], object]:
        """See :class:`Runtime`."""
        images = self.images(shape, image_dtype(self.device['dtype']))
        return load_onnxruntime(content, images, self.device['device'], self.device['dtype'], self.threads)


class OpenVino(Runtime):
    """OpenVINO, which works in a thread of its own."""

    thread_clock = staticmethod(time.process_time)

    def __init__(self, device: dict[str, Any]) -> None:
        super().__init__(device)
        self.core = self.module.Core()
        able = self.core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        if device['dtype'] == 'bfloat16' and 'BF16' not in able:
            raise MistakeError(f'dtype: got bfloat16, this processor computes in {", ".join(able)} alone')

    def load(self, content: bytes, shape: Sequence[int]) -> Callable[[], object]:
        """See :class:`Runtime`."""
        return load_openvino(self.core, content, self.images(shape), self.device['dtype'], self.threads)


class ExecuTorch(Runtime):
    """ExecuTorch."""

    def load(self, content: bytes, shape: Sequence[int]) -> Callable[[], object]:
        """See :class:`Runtime`."""
        return load_executorch(content, self.images(shape), self.threads)


RUNTIMES: dict[str, type[Runtime]] = {'onnxruntime': OnnxRuntime, 'openvino': OpenVino, 'executorch': ExecuTorch}


class Bundle:
    """The networks beside this file, and their timings so far.

    Args:
        folder: Folder with the manifest.
        out: File of the timings.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder = folder
        self.out = out
        self.manifest = _read(folder / MANIFEST)
        self.plan: dict[str, Any] = self.manifest['setting']['plan']
        self.timings: dict[str, Any] = {}

    def missing(self) -> list[str]:
        """Return the files of networks that are missing or damaged."""
        return [network['file'] for network in self.manifest['networks'] if self._content(network) is None]

    def begin(self, device: dict[str, Any]) -> None:
        """Start new timings, or continue those of an earlier process; MistakeError if their setting was another."""
        setting = {**self.manifest['setting'], 'device': device}
        self.timings = {'setting': setting, **{name: [] for name in self.manifest['passes']}}
        if self.out.exists():
            begun = _read(self.out)
            if begun.keys() != self.timings.keys() or begun['setting'] != setting:
                raise MistakeError(f'{self.out}: begun with other networks or versions; remove it to begin anew')
            self.timings = begun

    def measure(self, runtime: Runtime, pause: float) -> None:
        """Run the rounds that are missing, and write each to the file at once."""
        said = Said(self)
        for name, groups in self.manifest['passes'].items():
            found: list[list[list[float]]] = self.timings[name]
            for number, group in enumerate(groups):
                if number == len(found):
                    found.append([])
                rounds = found[number]
                if len(rounds) >= self.plan['repeats']:
                    continue
                jobs = [self._load(runtime, network) for network in group]

                def run_round(jobs: Sequence[Any] = jobs) -> list[float]:
                    time.sleep(pause)
                    return time_round(jobs, runtime.times)

                def tick(name: str = name, number: int = number) -> None:
                    self.keep()
                    said.after(name, number)

                add_rounds(rounds, run_round, self.plan['repeats'], self.plan['warmup'], tick)
                del jobs, run_round  # before the next group's networks need the memory

    def keep(self) -> None:
        """Write the timings. The file is written whole or not at all."""
        part = self.out.with_name(f'.{self.out.name}.part')
        with suppress(FileNotFoundError):  # what a killed process has left, or a link that somebody else put there
            part.unlink()
        with part.open('x') as file:
            json.dump(self.timings, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.out)

    def _load(self, runtime: Runtime, number: int) -> Callable[[], object]:
        network = self.manifest['networks'][number]
        content = self._content(network)
        if content is None:
            raise MistakeError(f'{network["file"]}: missing, or not whole; copy the bundle again')
        return runtime.load(content, network['shape'])

    def _content(self, network: dict[str, Any]) -> bytes | None:
        path = self.folder / network['file']
        content = path.read_bytes() if path.is_file() else b''
        return content if hashlib.sha256(content).hexdigest() == network['sha256'] else None


class Said:
    """Prints a line after each round: progress, speed of the device, and remaining time."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.started = time.monotonic()
        self.left_at_first = self._left()

    def after(self, name: str, number: int) -> None:
        """Print the line of the latest round of group ``number`` in pass ``name``."""
        rounds = self.bundle.timings[name][number]
        ratios = sorted(rounds[-1][place] / first for place, first in enumerate(rounds[0]))
        left = self._left()
        seconds = (time.monotonic() - self.started) / (self.left_at_first - left) * left
        groups = len(self.bundle.manifest['passes'][name])
        print(
            f'{name}: group {number + 1} of {groups}, round {len(rounds)} of {self.bundle.plan["repeats"]}, at '
            f"{100 / ratios[len(ratios) // 2]:.0f} % of its first round's speed, {seconds / 60:.1f} minutes left",
            flush=True,
        )

    def _left(self) -> int:
        """Return how many timings of a network are still to be taken."""
        left = 0
        for name, groups in self.bundle.manifest['passes'].items():
            done = self.bundle.timings[name]
            for number, group in enumerate(groups):
                rounds = len(done[number]) if number < len(done) else 0
                left += len(group) * max(0, self.bundle.plan['repeats'] - rounds)
        return left


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Raise MistakeError if another process measures in the same folder, since each would slow down the other."""
    try:
        fcntl: Any = import_module('fcntl')
    except ImportError:  # not on Windows
        yield
        return
    with (folder / MANIFEST).open('rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise MistakeError(f'{folder}: another process measures here; wait for it, or end it') from error
        yield


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise MistakeError(f'{path}: {error}; copy the bundle again, or remove what was begun') from error
    if not isinstance(content, dict):
        raise MistakeError(f'{path}: no JSON object')
    return content


def _answer(*command: str) -> str:
    """Return the first line that a program prints, or an empty text if there is none."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return ''
    return done.stdout.decode(errors='replace').partition('\n')[0].strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    folder = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description='Time the networks that lie beside this file.')
    parser.add_argument('--out', type=Path, default=folder / TIMINGS, help=f'default: {TIMINGS} beside this file')
    parser.add_argument('--pause', type=float, default=0.0, metavar='SECONDS', help='before a round, to cool down')
    parser.add_argument('--missing', action='store_true', help='name the files that are not whole, and end')
    args = parser.parse_args(argv)
    if not 0 <= args.pause <= LONGEST_PAUSE:
        parser.error(f'--pause: got {args.pause:g}, allowed: seconds from 0 to {LONGEST_PAUSE}')
    if not args.out.absolute().parent.is_dir():
        parser.error(f'--out: got {args.out}, whose folder does not exist')
    try:
        bundle = Bundle(folder, args.out)
        if args.missing:
            print(*bundle.missing(), sep='\n')
            return 0
        with _alone(folder), kept_memory():
            device = bundle.manifest['setting']['device']
            runtime = RUNTIMES[device['backend']](device)
            bundle.begin(runtime.described())
            bundle.measure(runtime, args.pause)
    except MistakeError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; the same command continues', file=sys.stderr)
        return 130
    print(f'{args.out}: complete')
    return 0


if __name__ == '__main__':
    sys.exit(main())
