"""What runs a network while it is timed.

Another backend (CoreML, TensorRT) is one more class entered into :data:`BACKENDS`: a :class:`Backend` with ``prepare``
where torch runs the network, or with ``times`` where another machine does; an :class:`ExportedBackend` where a file is
run. What else it needs is in docs/architecture.md, "Where to add what".
This file is a long one, since backends are read beside each other.
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

# What a backend builds of a network: called it runs it once, unless the backend's own `times` does otherwise.
Job = Any
# ``thread`` stands still while the machine works for others; it sees one CPU thread.
CLOCKS = {'wall': time.perf_counter, 'thread': time.thread_time}
# Of images at once, four gigabytes.
MOST_VALUES = 2**30
DTYPES = {name: getattr(torch, name) for name in ('float32', 'float16', 'bfloat16', 'int8')}


def random_images(*shape: int, generator: torch.Generator | None = None) -> Tensor:
    """Images to time a network on; ValueError for more than any device takes at once, as a table of others may say."""
    if math.prod(shape) > MOST_VALUES:
        raise bad_value('batch, channels, height and width', shape, f'at most {MOST_VALUES} values in all')
    return torch.rand(*shape, generator=generator)


class Backend:
    """Runs networks as they are (eager torch).

    Args:
        device: One of :attr:`devices`.
        dtype: One of :attr:`dtypes`; ``int8`` is that of layers with weights.
        threads: Of the CPU.
        clock: One of :data:`CLOCKS`.

    Attributes:
        devices: Names of the devices that the backend knows; a subclass for a phone names its own.
        dtypes: Names of those that it runs networks in, of :data:`DTYPES`.
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
        """The name of the processor, or of the GPU."""
        if device in on_device.GPUS:
            return torch.cuda.get_device_name()
        return processor_name()

    def build(self, network: nn.Module, images: Tensor) -> Job:
        """Prepare ``network`` for ``images``; each call of what is returned runs it once."""
        network, images = network.eval().to(self.device, self.dtype), images.to(self.device, self.dtype)
        prepared = self.prepare(network, images)

        def job() -> object:
            with torch.inference_mode():
                return prepared(images)

        return job

    def prepare(self, network: nn.Module, images: Tensor) -> Callable[[Tensor], object]:
        """What runs in place of ``network``; both are on the device already."""
        return network

    def synchronise(self) -> None:
        """Wait until the device has done all it was given."""
        if self.device in on_device.GPUS:
            torch.cuda.synchronize()

    def milliseconds(self, job: Job) -> float:
        """How long one run takes."""
        self.synchronise()
        start = self.clock()
        job()
        self.synchronise()
        return (self.clock() - start) * 1e3

    def times(self, job: Job, runs: int) -> list[float]:
        """Milliseconds of each of ``runs`` runs in a row.

        A backend that reaches its device over a cable or a network asks it for all of them at once, and returns what
        the device's own clock says: this process's would count the way there and back.
        """
        return [self.milliseconds(job) for _ in range(runs)]

    def time_round(self, jobs: Sequence[Job]) -> list[float]:
        """Milliseconds of each job: run thrice, the first to forget the one before, then the faster of two.

        Raises:
            ValueError: If a device does not say of each run how long it took.
        """
        return time_round(jobs, lambda job, runs: _checked(self.times(job, runs), runs))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let torch use this backend's number of threads and keep its memory from run to run."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with kept_memory():
                yield
        finally:
            torch.set_num_threads(threads)


class CompileBackend(Backend):
    """Compiles networks with torch.compile, which takes about ten seconds a network."""

    def prepare(self, network: nn.Module, images: Tensor) -> Callable[[Tensor], object]:
        """See :class:`Backend`."""
        # exported first: networks of one class would share torch.compile's few places for compiled code
        exported = torch.export.export(network, (images,)).module()
        compiled: Callable[[Tensor], object] = torch.compile(exported, dynamic=False)
        return compiled


class ExportedBackend(Backend):
    """What runs networks from files: exported once, by torch, they can be run again and elsewhere.

    Attributes:
        suffix: How names of the files end.
        exporters: Names of the packages whose versions decide what is in a file.
    """

    suffix = '.onnx'
    exporters: tuple[str, ...] = ('torch', 'onnx', 'onnxscript', 'onnxruntime')  # the last one quantises
    dtypes: tuple[str, ...] = ('float32',)

    @classmethod
    def check_export(cls, dtype: str) -> None:
        """Raise ValueError unless this process can export networks in ``dtype``; it need not have the runtime."""
        raise NotImplementedError

    @classmethod
    def export(cls, network: nn.Module, images: Tensor, dtype: torch.dtype) -> bytes:
        """The content of a network's file.

        Args:
            network: In eval mode.
            images: Of the one shape that the file takes.
            dtype: Of weights and images; int8 is that of layers with weights, by the ranges that random images give
                their activations: they decide what a network computes, not how long it takes.
        """
        raise NotImplementedError

    def load(self, content: bytes, images: Tensor) -> Job:
        """Prepare a file's network for ``images``; each call of what is returned runs it once."""
        raise NotImplementedError

    def build(self, network: nn.Module, images: Tensor) -> Job:
        """See :class:`Backend`."""
        return self.load(self.export(network.eval(), images, self.dtype), images)

    def operators(self, network: nn.Module, images: Tensor, runs: int) -> dict[str, float]:
        """Milliseconds of a forward pass by the runtime's own operators; nothing if it does not tell.

        Args:
            network: In eval mode.
            images: (B, C, H, W).
            runs: Profiled passes, after two others.
        """
        return {}


class OnnxRuntimeBackend(ExportedBackend):
    """Runs networks exported to ONNX; images and outputs stay on the device."""

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
            self.clock = time.process_time  # OpenVINO works in a thread of its own
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
        """See :class:`ExportedBackend`; but for int8 in float32, of which the runtime makes what it computes in."""
        return _onnx(network, images, torch.int8 if dtype == torch.int8 else torch.float32)

    def load(self, content: bytes, images: Tensor) -> Job:
        """See :class:`ExportedBackend`."""
        return on_device.load_openvino(self.core, content, images.float().numpy(), self.precision, self.threads)

    def operators(self, network: nn.Module, images: Tensor, runs: int) -> dict[str, float]:
        """See :class:`ExportedBackend`."""
        content = self.export(network.eval(), images, self.dtype)
        return openvino_operators(self.core, content, images.float().numpy(), self.precision, self.threads, runs)


class ExecuTorchBackend(ExportedBackend):
    """Runs networks as ExecuTorch does on phones, with XNNPACK, in float32; lowering one takes a minute or more."""

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
    """What a device says of some runs."""
    return [check_float('milliseconds', ms, 0, above=True) for ms in check_list('milliseconds', milliseconds, runs)]


def executorch_program(network: nn.Module, images: Tensor) -> bytes:
    """The content of a ``.pte`` file: what XNNPACK has operators for is lowered to it, the rest is ExecuTorch's own.

    Args:
        network: In eval mode; it stays as it is.
        images: Of the one shape that the file takes.
    """
    exir = require('executorch.exir', 'executorch')
    xnnpack = require('executorch.backends.xnnpack.partition.xnnpack_partitioner', 'executorch')
    network = copy.deepcopy(network)
    for tensor in (*network.parameters(), *network.buffers()):  # lowering takes no channels_last ones
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
    """The class of a backend.

    Raises:
        ValueError: If none of that name is entered in :data:`BACKENDS`.
    """
    return BACKENDS[check_choice('backend', name, tuple(BACKENDS))]
