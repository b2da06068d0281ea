"""Memory that is freed is kept while networks are timed, and only then."""

import platform
import resource

import pytest
import torch

from mmhybrid.estimation.backends import Backend
from mmhybrid.estimation.memory import kept_memory

PAGES = 2**25 // 2**21  # of 128 MB, if all of them are huge ones


def faults_of_three_runs() -> int:
    """Pages that the system hands out to three sums of 128 MB each."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.ones(2**25)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='of glibc')
@pytest.mark.parametrize('keep', [kept_memory, lambda: Backend('cpu', 'float32', 1).running()])
def test_keeps_memory(keep) -> None:
    assert faults_of_three_runs() > 3 * PAGES
    with keep():
        torch.ones(2**25)
        assert faults_of_three_runs() < PAGES
    assert faults_of_three_runs() > 3 * PAGES


def test_does_nothing_elsewhere(monkeypatch) -> None:
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    monkeypatch.delattr('ctypes.CDLL')
    with kept_memory():
        pass
