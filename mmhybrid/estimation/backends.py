"""What runs a network while it is timed.

Another backend (CoreML, TensorRT) is one more class with :meth:`Backend.build`, entered into :data:`BACKENDS`.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.optional import require

Job = Callable[[], object]
# ``thread`` stands still while the machine works for others; it sees one CPU thread.
CLOCKS = {'wall': time.perf_counter, 'thread': time.thread_time}
DTYPES = {name: getattr(torch, name) for name in ('float32', 'float16', 'bfloat16')}


class Backend:
    """Runs networks as they are (eager torch).

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: One of :data:`DTYPES`.
        threads: Of the CPU.
        clock: One of :data:`CLOCKS`.
    """

    def __init__(self, device: str, dtype: str, threads: int, clock: str = 'wall') -> None:
        self.device = device
        self.clock = CLOCKS[clock]
        self.dtype = DTYPES[dtype]
        self.threads = threads

    def build(self, network: nn.Module, images: Tensor) -> Job:
        """Prepare ``network`` for ``images``; each call of what is returned runs it once."""
        network, images = network.eval().to(self.device, self.dtype), images.to(self.device, self.dtype)

        def job() -> object:
            with torch.inference_mode():
                return network(images)

        return job

    def synchronise(self) -> None:
        """Wait until the device has done all it was given."""
        if self.device == 'cuda':
            torch.cuda.synchronize()


class CompileBackend(Backend):
    """Compiles networks with torch.compile."""

    def build(self, network: nn.Module, images: Tensor) -> Job:
        """See :class:`Backend`."""
        network, images = network.eval().to(self.device, self.dtype), images.to(self.device, self.dtype)
        # exported first: networks of one class would share torch.compile's few places for compiled code
        exported = torch.export.export(network, (images,)).module()
        compiled = torch.compile(exported, dynamic=False)

        def job() -> object:
            with torch.inference_mode():
                return compiled(images)

        return job


class OnnxRuntimeBackend(Backend):
    """Runs networks exported to ONNX."""

    def __init__(self, device: str, dtype: str, threads: int, clock: str = 'wall') -> None:
        super().__init__(device, dtype, threads, clock)
        self.runtime = require('onnxruntime', 'the backend onnxruntime')
        require('onnxscript', 'the backend onnxruntime')
        provider = 'CUDAExecutionProvider' if device == 'cuda' else 'CPUExecutionProvider'
        if provider not in self.runtime.get_available_providers():
            raise bad_value('device', device, 'a device that this onnxruntime knows')
        self.provider = provider

    def build(self, network: nn.Module, images: Tensor) -> Job:
        """See :class:`Backend`."""
        network, images = network.eval().to(dtype=self.dtype), images.to(dtype=self.dtype)
        program = torch.onnx.export(network, (images,), dynamo=True, verbose=False)
        assert program is not None
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        session = self.runtime.InferenceSession(
            program.model_proto.SerializeToString(), options, providers=[self.provider]
        )
        inputs = {session.get_inputs()[0].name: images.numpy()}
        return lambda: session.run(None, inputs)


BACKENDS: dict[str, type[Backend]] = {
    'eager': Backend,
    'compile': CompileBackend,
    'onnxruntime': OnnxRuntimeBackend,
}
