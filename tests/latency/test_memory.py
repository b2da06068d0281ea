"""Memory that is freed is kept while networks are timed, and only then."""

import json
import os
import platform
import subprocess
import sys

import pytest

from mmhybrid.latency.memory import VARIABLES, kept_memory

# Pages that the system hands out to tensors, one after the other, in a new process, whose heap is in order: before,
# while, and after its memory is kept. The larger ones are more than all that is kept of the smaller.
SCRIPT = """
import json, resource
import torch
from mmhybrid.latency.backends import Backend

def faults(megabytes, runs, warmup=0):
    for run in range(warmup + runs):
        if run == warmup:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(megabytes * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = [faults(400, 2)]
with Backend('cpu', 'float32', 1).running():
    found += [faults(40, 10, 20)]
print(json.dumps([*found, faults(400, 2), faults(1, 10, 20)]))
"""
HUGE_PAGES_OF_LARGE, HUGE_PAGES_OF_MIDDLE, PAGES_OF_SMALL = 200, 20, 256
glibc = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='of glibc')


def faults(**environment: str) -> list[int]:
    own = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], env={**own, **environment}, capture_output=True, text=True, check=True
    )
    found: list[int] = json.loads(done.stdout)
    return found


@glibc
def test_keeps_memory() -> None:
    before, kept, after, small = faults()
    assert before >= 2 * HUGE_PAGES_OF_LARGE
    assert kept < HUGE_PAGES_OF_MIDDLE
    assert after >= 2 * HUGE_PAGES_OF_LARGE
    assert small < PAGES_OF_SMALL


@glibc
def test_the_environment_decides() -> None:
    assert faults(MALLOC_MMAP_MAX_='65536')[1] >= 10 * HUGE_PAGES_OF_MIDDLE


def test_does_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    monkeypatch.delattr('ctypes.CDLL')
    with kept_memory():
        pass
