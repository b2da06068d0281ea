"""What a latency belongs to: the device, and how it was used."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mmhybrid.estimation.backends import BACKENDS, CLOCKS, DTYPES
from mmhybrid.utils.checks import bad_value, check_choice, check_int, check_keys

PACKAGES = ('torch', 'mmcv', 'onnxruntime')


@dataclass(frozen=True)
class Device:
    """A device and how it was used.

    Args:
        device: ``cpu`` or ``cuda``.
        name: Of the processor or the GPU.
        backend: What ran the networks, one of :data:`BACKENDS`.
        dtype: Of weights and images.
        batch: Images at once.
        threads: Of the CPU.
        clock: One of :data:`CLOCKS`; ``thread`` is for one thread of a CPU that others use too.
        versions: Package to version, and ``python``.
    """

    device: str
    name: str
    backend: str
    dtype: str
    batch: int
    threads: int
    clock: str
    versions: Mapping[str, str]

    @classmethod
    def here(cls, device: str, backend: str, dtype: str, batch: int, threads: int, clock: str = 'wall') -> 'Device':
        """The device of this machine.

        Raises:
            ValueError: Naming the argument, the value and what is allowed.
        """
        if device == 'cuda' and not torch.cuda.is_available():
            raise bad_value('device', device, 'cpu, since torch finds no GPU')
        versions = {'python': platform.python_version()}
        versions |= {package: found for package in PACKAGES if (found := _version(package)) is not None}
        raw = {'device': device, 'name': device_name(device), 'backend': backend, 'dtype': dtype, 'batch': batch}
        return cls.parse('device', {**raw, 'threads': threads, 'clock': clock, 'versions': versions})

    @classmethod
    def parse(cls, name: str, raw: object) -> 'Device':
        """A device from JSON; ValueError saying what is wrong with it, ``name`` in front."""
        check_keys(name, raw, [field.name for field in fields(cls)])
        assert isinstance(raw, Mapping)
        check_choice(f'{name}.device', raw['device'], ('cpu', 'cuda'))
        check_choice(f'{name}.backend', raw['backend'], tuple(BACKENDS))
        check_choice(f'{name}.clock', raw['clock'], tuple(CLOCKS))
        check_choice(f'{name}.dtype', raw['dtype'], tuple(DTYPES))
        for field in ('batch', 'threads'):
            check_int(f'{name}.{field}', raw[field], 1)
        if raw['clock'] == 'thread' and (raw['device'] != 'cpu' or raw['threads'] != 1):
            raise bad_value(f'{name}.clock', 'thread', 'wall, except with one thread of a CPU')
        if not isinstance(raw['name'], str):
            raise bad_value(f'{name}.name', raw['name'], 'the name of a processor or GPU')
        versions = raw['versions']
        if not isinstance(versions, Mapping) or not all(isinstance(text, str) for text in versions.values()):
            raise bad_value(f'{name}.versions', versions, 'a mapping of package to version, both strings')
        return cls(**raw)

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """What is not the same on this machine: name -> (there, here). Only what is used here as there is compared."""
        here: dict[str, Any] = {'device': 'cpu' if not torch.cuda.is_available() else self.device}
        if here['device'] == self.device:
            here['name'] = device_name(self.device)
        there = {name: getattr(self, name) for name in here}
        here['torch'], there['torch'] = torch.__version__, self.versions.get('torch')
        return {name: (there[name], here[name]) for name in here if there[name] != here[name]}


def device_name(device: str) -> str:
    """The processor, or the GPU."""
    if device == 'cuda':
        return torch.cuda.get_device_name()
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
