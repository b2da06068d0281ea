"""A backend of exported networks without a runtime: a network's file holds its size, which is what it takes to run."""

import json
from pathlib import Path

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import ExportedBackend
from mmhybrid.latency.devices import Device
from mmhybrid.space import GLiTSpace

TINY = Workload(
    GLiTSpace(embed_dims=24, num_blocks=2, level='attention'),
    {'type': 'mmhybrid.GLiT', 'img_size': 32, 'patch_size': 16},
    32,
    5,
)


def far() -> Device:
    """A machine that has ONNX Runtime."""
    return Device.elsewhere('cpu', 'onnxruntime', 'float32', 1, 1, 'wall')


def milliseconds_of(params: int) -> float:
    """Of a network with so many parameters."""
    return 6 + params / 1000


class Toy(ExportedBackend):
    """Writes down what it exports."""

    packages = ()
    log = Path('exports.txt')

    @classmethod
    def check_export(cls, dtype):
        pass

    @classmethod
    def export(cls, network, images, dtype):
        params = sum(parameter.numel() for parameter in network.parameters())
        # of networks of one size some weights differ, by which each is known
        sums = [float(parameter.detach().double().sum()) for parameter in network.parameters()]
        content = json.dumps({'params': params, 'shape': list(images.shape), 'dtype': str(dtype), 'sums': sums})
        with cls.log.open('a') as log:
            log.write(f'{content}\n')
        return content.encode()

    def load(self, content, images):
        found = json.loads(content)
        assert found['shape'] == list(images.shape)
        return milliseconds_of(found['params'])

    def times(self, job, runs):
        return [2 * job, *[job] * (runs - 1)]


def exported() -> list[str]:
    """The networks that were exported, in order."""
    return Toy.log.read_text().splitlines() if Toy.log.exists() else []
