"""The device that a latency belongs to, and how it was used."""

import platform
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch

from mmhybrid.latency.backends import BACKENDS, CLOCKS, DTYPES, Backend, ExportedBackend, backend_class
from mmhybrid.latency.on_device import GPUS, RUNTIMES, power_mode
from mmhybrid.utils.checks import bad_value, check_choice, check_int, check_keys
from mmhybrid.utils.files import LONGEST

MOST = 2**20  # the largest batch size
PACKAGES = ('torch', 'mmcv', 'onnxruntime')
MOST_THREADS = 1024  # torch starts as many as it is told, and ends the process when the system has no more


@dataclass(frozen=True)
class Device:
    """A device and how it was used.

    Args:
        device: ``cpu``, ``cuda`` or another name that the backend knows.
        name: Name of the processor, the GPU or the phone.
        backend: Name of the backend that ran the networks. It must be in :data:`BACKENDS` only to run more networks.
        dtype: Data type of weights and images.
        batch: Batch size.
        threads: Number of CPU threads.
        clock: Name of the clock, one of :data:`CLOCKS`; ``thread`` is for one thread of a CPU that other processes use
            too.
        versions: Version of each package, and of ``python``.
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
        """Return a device of this machine.

        Raises:
            ValueError: If an argument is wrong; the message names the argument, the value and what is allowed.
        """
        known = backend_class(backend)
        check_choice('device', device, known.devices)
        check_choice('dtype', dtype, known.dtypes)
        if device in GPUS and not torch.cuda.is_available():
            raise bad_value('device', device, 'cpu, since torch finds no GPU')
        versions = {'python': platform.python_version(), **versions_of((*PACKAGES, *known.packages))}
        if device in GPUS:
            versions |= power_mode()
        raw = {'device': device, 'name': known.device_name(device), 'backend': backend, 'dtype': dtype, 'batch': batch}
        return cls.parse('device', {**raw, 'threads': threads, 'clock': clock, 'versions': versions})

    @classmethod
    def elsewhere(cls, device: str, backend: str, dtype: str, batch: int, threads: int, clock: str) -> 'Device':
        """Return a device of another machine, for which networks are exported here.

        Its name and its versions are not known yet.

        Raises:
            ValueError: If an argument is wrong, or a package that exporting needs is missing; the message names it.
        """
        known = BACKENDS.get(backend)
        if known is None or not issubclass(known, ExportedBackend) or backend not in RUNTIMES:
            raise bad_value('backend', backend, f'what runs exported networks elsewhere: {", ".join(RUNTIMES)}')
        check_choice('device', device, known.devices)
        known.check_export(dtype)
        versions = versions_of((*PACKAGES, *known.exporters))
        versions.pop(backend, None)  # this machine's runtime does not run the networks
        raw = {'device': device, 'name': '', 'backend': backend, 'dtype': dtype, 'batch': batch, 'threads': threads}
        return cls.parse('device', {**raw, 'clock': clock, 'versions': versions})

    @classmethod
    def parse(cls, name: str, raw: object) -> 'Device':
        """Return a device from JSON.

        Raises:
            ValueError: If a field is wrong; the message begins with ``name``.
        """
        check_keys(name, raw, [field.name for field in fields(cls)])
        assert isinstance(raw, Mapping)
        for field in ('device', 'backend'):
            if not _is_name(raw[field]) or not raw[field]:
                raise bad_value(f'{name}.{field}', raw[field], f'the name of a {field}')
        check_choice(f'{name}.clock', raw['clock'], tuple(CLOCKS))
        check_choice(f'{name}.dtype', raw['dtype'], tuple(DTYPES))
        check_int(f'{name}.batch', raw['batch'], 1, MOST)
        check_int(f'{name}.threads', raw['threads'], 1, MOST_THREADS)
        if raw['clock'] == 'thread' and (raw['device'] != 'cpu' or raw['threads'] != 1):
            raise bad_value(f'{name}.clock', 'thread', 'wall, except with one thread of a CPU')
        if not _is_name(raw['name']):
            raise bad_value(f'{name}.name', raw['name'], 'the name of a processor or GPU')
        versions = raw['versions']
        if not isinstance(versions, Mapping) or not all(map(_is_name, [*versions, *versions.values()])):
            raise bad_value(f'{name}.versions', versions, 'a mapping of package to version, both printable strings')
        return cls(**raw)

    def open(self) -> Backend:
        """Return the backend that runs networks on this device; raise ValueError if this process does not have it."""
        return backend_class(self.backend)(self.device, self.dtype, self.threads, self.clock)

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """Return what differs on this machine, as a mapping of name to (there, here).

        Only the packages that the backend uses are compared.
        """
        backend = BACKENDS.get(self.backend)
        if backend is None:  # the backend of a plug-in that this process does not have
            return {}
        here: dict[str, Any] = {'device': self.device}
        if self.device in GPUS and not torch.cuda.is_available():
            here['device'] = 'cpu'
        else:
            here['name'] = backend.device_name(self.device)
        there = {name: getattr(self, name) for name in here}
        for package in backend.packages:
            here[package], there[package] = _version(package), self.versions.get(package)
        return {name: (there[name], here[name]) for name in here if there[name] != here[name]}

    def warn_if_elsewhere(self, what: str) -> None:
        """Warn of each difference between the device and this machine; ``what`` names what was measured."""
        for name, (there, here) in self.differences().items():
            warnings.warn(f'{what}: measured with {name} {there!r}, here it is {here!r}', stacklevel=3)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    return {package: found for package in dict.fromkeys(packages) if (found := _version(package)) is not None}


def _is_name(text: object) -> bool:
    """Return whether a terminal and a picture can show a text as a name."""
    return isinstance(text, str) and text.isprintable() and len(text) <= LONGEST


def _version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed.

    The version comes from the module where another package provides it, as onnxruntime-gpu provides onnxruntime.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        module = import_module(package) if find_spec(package) else None
        return getattr(module, '__version__', None)
