"""Helpers of the benchmarks: arguments, interleaved timing, and a description of the machine."""

import importlib
import os
import platform
import statistics
import subprocess
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Mapping
from types import ModuleType

import mmhybrid.commands  # noqa: F401  # first, as for commands: where torch looks for libraries and keeps code

# isort: split
import torch
from rich.progress import track

from mmhybrid.latency.backends import Backend
from mmhybrid.utils.files import check_target

Figures = dict[str, float | int | str]


def require(module: str) -> ModuleType:
    """Import a module, or end the program with the name of the package to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition('.')[0]
        raise SystemExit(f'{module} needs the package {package}: pip install {package}') from None


def positive(text: str) -> int:
    """Parse an int above zero from the command line."""
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f'got {text}, allowed: an int >= 1')
    return int(text)


def add_json_argument(parser: ArgumentParser) -> None:
    """Add ``--json FILE``, which is refused before anything is measured if the file cannot be written."""

    def target(text: str) -> str:
        try:
            check_target(text)
        except ValueError as error:
            raise ArgumentTypeError(f'{error}') from error
        return text

    parser.add_argument('--json', type=target, metavar='FILE', help='file for the figures')


def time_interleaved(
    jobs: Mapping[str, Callable[[], object]], repeats: int, synchronize: Callable[[], object], warmup: int = 2
) -> dict[str, list[float]]:
    """Time jobs in rounds, and return the seconds of each run of each job.

    In each round every job runs once, so that a change of the machine's speed affects all of them alike.

    Args:
        jobs: Jobs to time, by name.
        repeats: Number of timed rounds.
        synchronize: Function that waits for the device.
        warmup: Number of untimed rounds before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for round_index in track(range(-warmup, repeats), description='timing', transient=True):
        for name, job in jobs.items():
            synchronize()
            start = time.perf_counter()
            job()
            synchronize()
            if round_index >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median of the ratios within each round, which is steadier than a ratio of medians on a busy machine."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def synchronizer(device: str) -> Callable[[], object]:
    """A function that waits for ``device``; on a CPU it does nothing."""
    return torch.cuda.synchronize if device == 'cuda' else lambda: None


def describe_machine(device: str) -> Figures:
    """The processor, the device and the versions with which figures were measured."""
    machine: Figures = {
        'machine.processor': Backend.device_name('cpu'),
        'machine.cores': os.cpu_count() or 0,
        'machine.system': platform.platform(),
        'machine.python': platform.python_version(),
        'machine.torch': torch.__version__,
        'machine.threads': torch.get_num_threads(),
        'machine.device': device,
    }
    if hasattr(os, 'getloadavg'):
        machine['machine.load'] = os.getloadavg()[0]
    if device == 'cuda':
        machine['machine.gpu'] = Backend.device_name(device)
        machine['machine.cuda'] = torch.version.cuda or 'none'
        machine['machine.driver'] = _driver()
    return machine


def _driver() -> str:
    """The version of NVIDIA's driver."""
    query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip() or 'unknown'
    except (OSError, subprocess.TimeoutExpired):
        return 'unknown'
