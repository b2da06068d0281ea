"""The search tool on several ranks, in several processes, and killed."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from fresh_python import CONTEXT
from search_demo import BUDGET, ROOT, make_search, stored_candidates

PATIENCE = 120
# Of a stored candidate: how long its evaluation took, and the checksum of all, that included.
TIMED = ('seconds', 'checksum')


def search(arguments: list[str], environment: dict[str, str]) -> None:
    """The tool in this process, with one thread; it trains nothing, so that ranks have no gradients to share."""
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    torch.nn.parallel.DistributedDataParallel.__init__ = no_ddp
    import search as tool

    tool.main(arguments)


def no_ddp(*arguments: object, **options: object) -> None:
    raise AssertionError('a search has built a DistributedDataParallel')


def start(demo: dict[str, str], work_dir: Path, *options: str, **environment: str) -> BaseProcess:
    arguments = [demo['config'], '--checkpoint', demo['checkpoint'], '--work-dir', str(work_dir), *options]
    process = CONTEXT.Process(target=search, args=(arguments, environment), daemon=True)
    process.start()
    return process


def end_well(*processes: BaseProcess) -> None:
    for process in processes:
        process.join(timeout=PATIENCE)
        assert process.exitcode == 0


def free_port() -> int:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


@pytest.fixture(scope='module')
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_search(tmp_path_factory.mktemp('search'))


@pytest.fixture(scope='module')
def whole(demo: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one rank finds without interruption."""
    folder = tmp_path_factory.mktemp('whole')
    end_well(start(demo, folder))
    return found_in(folder)


def found_in(folder: Path) -> dict[str, Any]:
    """All but how long it took."""
    candidates = stored_candidates(folder / 'search.journal')
    return {
        'candidates': [{name: found[name] for name in found if name not in TIMED} for found in candidates],
        'best': without_hours((folder / 'best_arch.json').read_text()),
        'top': (folder / 'topk.csv').read_text(),
    }


def without_hours(best: str) -> dict[str, Any]:
    content = json.loads(best)
    assert content['search'].pop('evaluation_hours') > 0
    del content['search']['proposal_hours']
    return content


def test_all_is_stored(whole: dict[str, Any]) -> None:
    """What the other tests compare is not empty, and not all alike."""
    assert len(whole['candidates']) == BUDGET
    assert len({str(candidate['params']) for candidate in whole['candidates']}) == BUDGET
    assert all('accuracy/top1' in candidate['metrics'] for candidate in whole['candidates'])
    assert all(candidate['estimates']['params_m'] <= 0.5 for candidate in whole['candidates'])


def test_two_ranks_have_the_history_of_one(demo: dict[str, str], whole: dict[str, Any], tmp_path: Path) -> None:
    """With the environment that torchrun sets up, and gloo."""
    ranks = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free_port())}
    end_well(
        *(
            start(demo, tmp_path, '--launcher', 'pytorch', RANK=str(rank), LOCAL_RANK=str(rank), **ranks)
            for rank in range(2)
        )
    )
    assert found_in(tmp_path) == whole


@pytest.mark.slow
def test_torchrun(demo: dict[str, str], whole: dict[str, Any], tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '--standalone']
    command += [str(ROOT / 'tools/search.py'), demo['config'], '--checkpoint', demo['checkpoint']]
    command += ['--work-dir', str(tmp_path), '--launcher', 'pytorch']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    subprocess.run(command, check=True, capture_output=True, timeout=4 * PATIENCE, env=environment)
    assert found_in(tmp_path) == whole


def test_two_processes_share_a_search(demo: dict[str, str], whole: dict[str, Any], tmp_path: Path) -> None:
    storage = tmp_path / 'shared.journal'
    options = ['--shared', '--storage', str(storage)]
    end_well(*(start(demo, tmp_path / name, *options) for name in 'ab'))
    results = [without_hours((tmp_path / name / 'best_arch.json').read_text()) for name in 'ab']
    assert results == [whole['best']] * 2
    evaluated = Counter(line for name in 'ab' for line in evaluations(tmp_path / name))
    assert sorted(evaluated.values()) == [1] * BUDGET


def evaluations(work_dir: Path) -> list[str]:
    """Stage, generation and index of each candidate that a process has evaluated, from its log."""
    (log,) = work_dir.glob('*/*.log')
    return [' '.join(line.split('fine')[1].split()[:1]) for line in log.read_text().splitlines() if '  best ' in line]


def test_killed_and_resumed_has_the_same_history(demo: dict[str, str], whole: dict[str, Any], tmp_path: Path) -> None:
    journal = tmp_path / 'search.journal'
    for survived in sorted(random.Random(0).sample(range(1, BUDGET), 2)):
        process = start(demo, tmp_path, '--resume')
        deadline = time.monotonic() + PATIENCE
        while len(stored_candidates(journal)) < survived:
            assert process.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert survived <= len(stored_candidates(journal)) < BUDGET
    end_well(start(demo, tmp_path, '--resume'))
    assert found_in(tmp_path) == whole
