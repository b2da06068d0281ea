"""What the benchmarks share: interleaved timing, the machine's description, and JSON written whole or not at all."""

import importlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch
from rich.progress import track

Figures = dict[str, float | int | str]


def require(module: str) -> ModuleType:
    """Import a module, or end with the name of the package to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition('.')[0]
        raise SystemExit(f'{module} needs the package {package}: pip install {package}') from None


def time_interleaved(
    jobs: Mapping[str, Callable[[], object]], repeats: int, synchronize: Callable[[], object], warmup: int = 2
) -> dict[str, list[float]]:
    """Seconds of each run of each job.

    In each round every job runs once, so that a change of the machine's speed meets all of them alike.

    Args:
        jobs: What to time, by name.
        repeats: Timed rounds.
        synchronize: Waits for the device.
        warmup: Rounds before, not timed.
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
    """Median over the rounds of the ratio within each round: steadier than a ratio of medians on a busy machine."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def synchronizer(device: str) -> Callable[[], object]:
    """What waits for ``device``: nothing on a CPU."""
    return torch.cuda.synchronize if device == 'cuda' else lambda: None


def describe_machine(device: str) -> Figures:
    """The processor, the device and the versions that a figure belongs to."""
    machine: Figures = {
        'machine.processor': _processor_name(),
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
        machine['machine.gpu'] = torch.cuda.get_device_name()
    return machine


def write_json(path: str | Path, figures: Figures) -> None:
    """Write a flat mapping; an interrupted write leaves the old file."""
    path = Path(path)
    with tempfile.NamedTemporaryFile('w', dir=path.parent, prefix=f'.{path.name}.', delete=False) as file:
        json.dump(figures, file, indent=2)
        file.write('\n')
    os.replace(file.name, path)


def _processor_name() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()
