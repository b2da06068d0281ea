"""Backends, which run a network while it is timed.

Another backend (CoreML, TensorRT) is one more class in :data:`BACKENDS`. It derives from :class:`Backend` and overrides
``prepare`` if torch runs the network, or ``times`` if another machine does. It derives from :class:`ExportedBackend` if
it runs a file. docs/architecture.md, "Where to add what", lists what else a backend needs.

This file is long because backends are read side by side.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmhybrid.latency import on_device
from mmhybrid.latency.memory import kept_memory
from mmhybrid.latency.on_device import PRECISIONS, PROVIDERS, image_dtype, processor_name, time_round
from mmhybrid.latency.operators import onnxruntime_operators, openvino_operators
from mmhybrid.latency.quantization import quantized
from mmhybrid.torch_api import EXPORTING, require_torch
from mmhybrid.utils.checks import bad_value, check_choice, check_float, check_int, check_list
from mmhybrid.utils.openvino_core import openvino_core
from mmhybrid.utils.optional import require

# What a backend builds from a network. Calling it runs the network once, unless the backend overrides `times`.
Job = Any
# ``thread`` stops while the machine works for other processes. It measures one CPU thread only.
CLOCKS = {'wall': time.perf_counter, 'thread': time.thread_time}
# The largest number of values in a batch of images: 4 GiB in float32.
MOST_VALUES = 2**30
DTYPES = {name: getattr(torch, name) for name in ('float32', 'float16', 'bfloat16', 'int8')}


def random_images(*shape: int, generator: torch.Generator | None = None) -> Tensor:
    """Return random images of a shape.

    Raises:
        ValueError: If the batch is larger than any device takes, as a table from somebody else may ask for.
    """
    if math.prod(shape) > MOST_VALUES:
        raise bad_value('batch, channels, height and width', shape, f'at most {MOST_VALUES} values in all')
    return torch.rand(*shape, generator=generator)


class Backend:
    """Runs networks as they are (eager torch).

    Args:
        device: Name of the device, one of :attr:`devices`.
        dtype: Data type, one of :attr:`dtypes`. With ``int8``, only layers with weights are quantised.
        threads: Number of CPU threads.
        clock: Name of the clock, one of :data:`CLOCKS`.

    Attributes:
        devices: Names of the devices that the backend knows; a subclass for a phone names its own.
        dtypes: Names of the data types in which the backend runs networks, from :data:`DTYPES`.
        packages: Names of the packages whose versions decide how fast networks run.
    """

    devices: tuple[str, ...] = ('cpu', 'cuda')
    packages: tuple[str, ...] = ('torch',)
    dtypes: tuple[str, ...] = ('float32', 'float16', 'bfloat16')

    def __init__(self, device: str, dtype: str, threads: int, clock: str = 'wall') -> None:
        self.device = check_choice('device', device, self.devices)
        self.clock = CLOCKS[check_choice('clock', clock, tuple(CLOCKS))]
        self.dtype = DTYPES[check_choice('dtype', dtype, self.dtypes)]
        self.threads = check_int('threads', threads, 1)

    @staticmethod
    def device_name(device: str) -> str:
        """Return the name of the processor or of the GPU."""
        if device in on_device.GPUS:
            return torch.cuda.get_device_name()
        return processor_name()

    def build(self, network: nn.Module, images: Tensor) -> Job:
        """Prepare ``network`` for ``images`` and return a job; each call of the job runs the network once."""
        network, images = network.eval().to(self.device, self.dtype), images.to(self.device, self.dtype)
        prepared = self.prepare(network, images)

        def job() -> object:
            with torch.inference_mode():
                return prepared(images)

        return job

    def prepare(self, network: nn.Module, images: Tensor) -> Callable[[Tensor], object]:
        """Return the callable that replaces ``network``. Network and images are on the device already."""
        return network

    def synchronise(self) -> None:
        """Wait until the device has finished all work."""
        if self.device in on_device.GPUS:
            torch.cuda.synchronize()

    def milliseconds(self, job: Job) -> float:
        """Return the time of one run in milliseconds."""
        self.synchronise()
        start = self.clock()
        job()
        self.synchronise()
        return (self.clock() - start) * 1e3

    def times(self, job: Job, runs: int) -> list[float]:
        """Return the milliseconds of each of ``runs`` successive runs.

        A backend that reaches its device over a cable or a network overrides this method. It asks the device for all
        runs at once and returns the times of the device's own clock, since a clock in this process would include the
        transfer.
        """
        return [self.milliseconds(job) for _ in range(runs)]

    def time_round(self, jobs: Sequence[Job]) -> list[float]:
        """Return the milliseconds of each job, each of which runs three times.

        The first run flushes what the previous job left in the caches and does not count; the faster of the other two
        does.

        Raises:
            ValueError: If the device does not return one positive time for each run.
        """
        return time_round(jobs, lambda job, runs: _checked(self.times(job, runs), runs))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let torch use this backend's number of threads, and keep freed memory between runs."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with kept_memory():
                yield
        finally:
            torch.set_num_threads(threads)


class CompileBackend(Backend):
    """Compiles networks with torch.compile, which takes about ten seconds for each network."""

    def prepare(self, network: nn.Module, images: Tensor) -> Callable[[Tensor], object]:
        """See :class:`Backend`."""
        # Exported first, since networks of one class would otherwise share torch.compile's small cache of compiled
        # code.
        exported = torch.export.export(network, (images,)).module()
        compiled: Callable[[Tensor], object] = torch.compile(exported, dynamic=False)
        return compiled


class ExportedBackend(Backend):
    """Base class of backends that run a network from a file, which torch exports once.

    The file can be run again later, and on other machines.

    Attributes:
        suffix: File name suffix of an exported network.
        exporters: Names of the packages whose versions decide what is in the file.
    """

    suffix = '.onnx'
    exporters: tuple[str, ...] = ('torch', 'onnx', 'onnxscript', 'onnxruntime')  # onnxruntime quantises
    dtypes: tuple[str, ...] = ('float32',)

    @classmethod
    def check_export(cls, dtype: str) -> None:
        """Raise ValueError unless this process can export networks in ``dtype``; the runtime itself is not needed."""
        raise NotImplementedError

    @classmethod
    def export(cls, network: nn.Module, images: Tensor, dtype: torch.dtype) -> bytes:
        """Return the content of a network's file.

        Args:
            network: The network, in eval mode.
            images: Images of the one shape that the file accepts.
            dtype: Data type of weights and images. With int8, only layers with weights are quantised. The ranges of
                their activations come from random images, which changes the network's output but not its latency.
        """
        raise NotImplementedError

    def load(self, content: bytes, images: Tensor) -> Job:
        """Load a network from its file for ``images`` and return a job; each call of the job runs the network once."""
        raise NotImplementedError

    def build(self, network: nn.Module, images: Tensor) -> Job:
        """See :class:`Backend`."""
        return self.load(self.export(network.eval(), images, self.dtype), images)

    def operators(self, network: nn.Module, images: Tensor, runs: int) -> dict[str, float]:
        """Return the milliseconds of a forward pass for each operator of the runtime; empty if the runtime cannot tell.

        Args:
            network: The network, in eval mode.
            images: (B, C, H, W).
            runs: Number of profiled passes, which follow two unprofiled ones.
        """
        return {}


class OnnxRuntimeBackend(ExportedBackend):
    """Runs networks exported to ONNX on ONNX Runtime; images and outputs stay on the device."""

    devices = tuple(PROVIDERS)
    packages = ('onnxruntime', 'torch')
    dtypes = ('float32', 'float16', 'int8')

    def __init__(self, device: str, dtype: str, threads: int, clock: str = 'wall') -> None:
        super().__init__(device, dtype, threads, clock)
        self.check_export(dtype)
        self.dtype_name, self.image_dtype = dtype, image_dtype(dtype)
        runtime = require('onnxruntime', 'the backend onnxruntime')
        if PROVIDERS[device] not in runtime.get_available_providers():
            raise bad_value('device', device, 'a device that this onnxruntime knows')

    @classmethod
    def check_export(cls, dtype: str) -> None:
        """See :class:`ExportedBackend`."""
        check_choice('dtype', dtype, cls.dtypes)
        require('onnxscript', 'the backend onnxruntime')
        require_torch(EXPORTING, 'the backend onnxruntime')

    @classmethod
    def export(cls, network: nn.Module, images: Tensor, dtype: torch.dtype) -> bytes:
        """See :class:`ExportedBackend`."""
        return _onnx(network, images, dtype)

    def load(self, content: bytes, images: Tensor) -> Job:
        """See :class:`ExportedBackend`."""
        given = images.numpy().astype(self.image_dtype)
        return on_device.load_onnxruntime(content, given, self.device, self.dtype_name, self.threads)

    def operators(self, network: nn.Module, images: Tensor, runs: int) -> dict[str, float]:
        """See :class:`ExportedBackend`."""
        content = self.export(network.eval(), images, self.dtype)
        given = images.numpy().astype(self.image_dtype)
        return onnxruntime_operators(content, given, self.device, self.dtype_name, self.threads, runs)


class OpenVinoBackend(ExportedBackend):
    """Runs networks exported to ONNX on OpenVINO, in float32 or int8, or in bfloat16 on a processor that has it."""

    devices = ('cpu',)
    packages = ('openvino', 'torch')
    dtypes = tuple(PRECISIONS)

    def __init__(self, device: str, dtype: str, threads: int, clock: str = 'wall') -> None:
        super().__init__(device, dtype, threads, clock)
        if clock == 'thread':
            self.clock = time.process_time  # OpenVINO works in a thread of its own, which time.thread_time does not see
            if threads > 1:
                raise bad_value('threads', threads, '1 with the clock thread')
        self.core = openvino_core('the backend openvino')
        able = self.core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        check_choice('dtype', dtype, tuple(known for known in PRECISIONS if known != 'bfloat16' or 'BF16' in able))
        self.check_export(dtype)
        self.precision = dtype

    @classmethod
    def check_export(cls, dtype: str) -> None:
        """See :class:`ExportedBackend`."""
        check_choice('dtype', dtype, cls.dtypes)
        require('onnxscript', 'the backend openvino')
        require_torch(EXPORTING, 'the backend openvino')

    @classmethod
    def export(cls, network: nn.Module, images: Tensor, dtype: torch.dtype) -> bytes:
        """See :class:`ExportedBackend`. All but int8 files are in float32, which the runtime converts."""
        return _onnx(network, images, torch.int8 if dtype == torch.int8 else torch.float32)

    def load(self, content: bytes, images: Tensor) -> Job:
        """See :class:`ExportedBackend`."""
        return on_device.load_openvino(self.core, content, images.float().numpy(), self.precision, self.threads)

    def operators(self, network: nn.Module, images: Tensor, runs: int) -> dict[str, float]:
        """See :class:`ExportedBackend`."""
        content = self.export(network.eval(), images, self.dtype)
        return openvino_operators(self.core, content, images.float().numpy(), self.precision, self.threads, runs)


class ExecuTorchBackend(ExportedBackend):
    """Runs networks in float32 on ExecuTorch with XNNPACK, as phones do; lowering a network takes a minute or more."""

    devices = ('cpu',)
    packages = ('executorch', 'torch')
    suffix = '.pte'
    exporters = ('torch', 'executorch')

    def __init__(self, device: str, dtype: str, threads: int, clock: str = 'wall') -> None:
        super().__init__(device, dtype, threads, clock)
        check_choice('dtype', dtype, self.dtypes)
        require('executorch.runtime', 'the backend executorch')

    @classmethod
    def check_export(cls, dtype: str) -> None:
        """See :class:`ExportedBackend`."""
        check_choice('dtype', dtype, cls.dtypes)
        require('executorch.exir', 'the backend executorch')

    @classmethod
    def export(cls, network: nn.Module, images: Tensor, dtype: torch.dtype) -> bytes:
        """See :class:`ExportedBackend`."""
        return executorch_program(network.float(), images.float())

    def load(self, content: bytes, images: Tensor) -> Job:
        """See :class:`ExportedBackend`."""
        return on_device.load_executorch(content, images.float().numpy(), self.threads)


def _checked(milliseconds: object, runs: int) -> list[float]:
    """Return the times that a device reported, once they are checked: one positive number for each run."""
    return [check_float('milliseconds', ms, 0, above=True) for ms in check_list('milliseconds', milliseconds, runs)]


def executorch_program(network: nn.Module, images: Tensor) -> bytes:
    """Return the content of a ``.pte`` file.

    Operators that XNNPACK supports are lowered to it; the others are ExecuTorch's own.

    Args:
        network: The network, in eval mode; it is not changed.
        images: Images of the one shape that the file accepts.
    """
    exir = require('executorch.exir', 'executorch')
    xnnpack = require('executorch.backends.xnnpack.partition.xnnpack_partitioner', 'executorch')
    network = copy.deepcopy(network)
    for tensor in (*network.parameters(), *network.buffers()):  # lowering does not accept channels_last tensors
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    exported = torch.export.export(network, (images,))
    lowered = exir.to_edge_transform_and_lower(exported, partitioner=[xnnpack.XnnpackPartitioner()])
    content: bytes = lowered.to_executorch().buffer
    return content


def _onnx(network: nn.Module, images: Tensor, dtype: torch.dtype) -> bytes:
    written = torch.float32 if dtype == torch.int8 else dtype
    program = torch.onnx.export(network.to(dtype=written), (images.to(dtype=written),), dynamo=True, verbose=False)
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    if dtype != torch.int8:
        return content
    random = random_images(*images.shape, generator=torch.Generator().manual_seed(0))
    return quantized(content, [random.numpy()])


BACKENDS: dict[str, type[Backend]] = {
    'eager': Backend,
    'compile': CompileBackend,
    'onnxruntime': OnnxRuntimeBackend,
    'openvino': OpenVinoBackend,
    'executorch': ExecuTorchBackend,
}


def backend_class(name: str) -> type[Backend]:
    """Return the class of a backend.

    Raises:
        ValueError: If :data:`BACKENDS` has no backend of that name.
    """
    if not isinstance(name, str) or name not in BACKENDS:  # a table is a file, with any value
        allowed = f'one of {list(BACKENDS)}, or one that a module in custom_imports of the config enters'
        raise bad_value('backend', name, allowed)
    return BACKENDS[name]
