"""Ranks that end together: a program on three of them, whose rank 1 does not get to its end."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fresh_python import CONTEXT
from mmengine.config import Config
from mmengine.dist import all_reduce, collect_results, get_rank
from torch.nn.parallel import DistributedDataParallel

from mmhybrid.commands.shared.mistakes import EXIT_CODE, ending_on_mistakes
from mmhybrid.engine.ranks import UntrainedRunner, run, together

NUM_RANKS = 3
# Within which the others have to be gone, however busy the machine is; gloo waits for half an hour.
SECONDS = 30
FOREVER = 600
SENTENCE = 'the table is of another space'
GONE = 'is gone (killed, or its machine failed)'


def program(rank: int, port: int, work: Callable[[], None], folder: Path) -> None:
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(NUM_RANKS)}
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    for name, number in (('out', 1), ('err', 2)):
        os.dup2(os.open(folder / f'{rank}.{name}', os.O_WRONLY | os.O_CREAT), number)

    def main() -> None:
        with ending_on_mistakes(), together(Config({'launcher': 'pytorch'})):
            work()

    run(main)


def run_ranks(work: Callable[[], None], folder: Path) -> list[int | None]:
    """The exit codes; output goes to a file a rank."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    ranks = [CONTEXT.Process(target=program, args=(rank, port, work, folder), daemon=True) for rank in range(NUM_RANKS)]
    for process in ranks:
        process.start()
    deadline = time.monotonic() + SECONDS
    for process in ranks:
        process.join(timeout=max(deadline - time.monotonic(), 0))
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    return codes


def said(folder: Path) -> list[str]:
    """What each rank wrote on stderr, but for warnings of torch."""
    return [
        ''.join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith('[W'))
        for path in sorted(folder.glob('*.err'))
    ]


def wait_for_others() -> None:
    all_reduce(torch.ones(1))
    all_reduce(torch.ones(1))


def compute() -> None:
    """Long, and without a word to the others."""
    time.sleep(FOREVER)


class RankOne:
    """Rank 1 meets its end, and the others do something else."""

    def __init__(self, end: Callable[[], None], others: Callable[[], None], rank: int = 1) -> None:
        self.end, self.others, self.rank = end, others, rank

    def __call__(self) -> None:
        if get_rank() == self.rank:
            all_reduce(torch.ones(1))
            self.end()
        self.others()


def mistake() -> None:
    raise ValueError(SENTENCE)


def bug() -> None:
    raise KeyError('no such key')


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def meet_then_compute() -> None:
    all_reduce(torch.ones(1))
    compute()


@pytest.mark.parametrize(
    ('end', 'others', 'code', 'reason', 'own_words'),
    [
        (mistake, wait_for_others, EXIT_CODE, f'ended with ValueError: {SENTENCE}', f'{SENTENCE}\n'),
        (bug, meet_then_compute, 1, 'ended with KeyError: no such key', None),
        (die, wait_for_others, -signal.SIGKILL, GONE, ''),
        (die, meet_then_compute, -signal.SIGKILL, GONE, ''),
    ],
)
def test_a_rank_that_fails_ends_the_others(
    end: Callable[[], None],
    others: Callable[[], None],
    code: int,
    reason: str,
    own_words: str | None,
    tmp_path: Path,
) -> None:
    """Those that wait for it in an exchange, which gloo would tell of sockets, and those that are busy."""
    assert run_ranks(RankOne(end, others), tmp_path) == [1, code, 1]
    first, failed, last = said(tmp_path)
    assert [first, last] == [f'rank 1 {reason}; rank {rank} ends too\n' for rank in (0, 2)]
    if own_words is None:
        assert 'Traceback' in failed
        assert failed.endswith("KeyError: 'no such key'\n")
    else:
        assert failed == own_words


def test_rank_0_dies(tmp_path: Path) -> None:
    """It has all connections."""
    assert run_ranks(RankOne(die, wait_for_others, rank=0), tmp_path) == [-signal.SIGKILL, 1, 1]
    assert said(tmp_path)[1:] == [f'rank 0 {GONE}; rank {rank} ends too\n' for rank in (1, 2)]


def test_a_mistake_of_all_ranks_is_told_by_each_in_its_own_words(tmp_path: Path) -> None:
    assert run_ranks(mistake, tmp_path) == [EXIT_CODE] * NUM_RANKS
    assert said(tmp_path) == [f'{SENTENCE}\n'] * NUM_RANKS


def train() -> None:
    """With a DistributedDataParallel, something to do at the exit, and ranks that come late."""
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    print('not flushed', end='')  # noqa: T201
    atexit.register(print, ' done')
    time.sleep(get_rank())


def test_ranks_that_succeed_leave_nothing_undone(tmp_path: Path) -> None:
    assert run_ranks(train, tmp_path) == [0] * NUM_RANKS
    assert said(tmp_path) == [''] * NUM_RANKS
    written = [path.read_text().splitlines(keepends=True) for path in sorted(tmp_path.glob('*.out'))]
    assert [lines[-1] for lines in written] == ['not flushed done\n'] * NUM_RANKS  # onedl-mmcv tells what it lacks


ENDING = """
import os
import sys

import torch

from mmhybrid.engine.ranks import run


class Last:
    def __del__(self, write=os.write):  # names of the module may be gone
        write(1, b'the interpreter ended')


last = Last()


def main():
    if 'ranks' in sys.argv:
        torch.distributed.init_process_group('gloo', init_method=f'file://{sys.argv[1]}', rank=0, world_size=1)
    print('work done')


run(main)
"""


@pytest.mark.parametrize(('joined', 'end'), [('ranks', ''), ('alone', 'the interpreter ended')])
def test_ranks_do_not_get_to_the_end_of_the_interpreter(joined: str, end: str, tmp_path: Path) -> None:
    """Where threads that gloo left behind would meet it."""
    done = subprocess.run(
        [sys.executable, '-c', ENDING, str(tmp_path / 'store'), joined], capture_output=True, text=True, check=True
    )
    assert done.stdout == f'work done\n{end}'


def test_a_program_of_one_process_ends_as_any() -> None:
    def main() -> None:
        with together(Config({'launcher': 'none'})):
            raise SystemExit(3)

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 3


def test_what_trains_nothing_has_the_bare_model() -> None:
    model = torch.nn.Sequential(torch.nn.SyncBatchNorm(2))
    runner = object.__new__(UntrainedRunner)
    wrapped = runner.wrap_model({'type': 'MMDistributedDataParallel'}, model)
    assert type(wrapped) is torch.nn.Sequential
    assert not isinstance(wrapped[0], torch.nn.SyncBatchNorm)


def collect() -> None:
    """Results of three ranks."""
    os.environ['LOCAL_WORLD_SIZE'] = str(NUM_RANKS)
    found = collect_results([f'{get_rank()}.{number}' for number in range(2)], 5, 'cpu')
    os.write(1, f'{found}\n'.encode())


def test_results_do_not_go_through_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may be that of somebody who exchanges them: they are unpickled."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TMPDIR', str(tmp_path / 'temporary'))
    (tmp_path / 'temporary').mkdir()
    (tmp_path / '.dist_test').touch()
    assert run_ranks(collect, tmp_path) == [0] * NUM_RANKS, said(tmp_path)
    assert (tmp_path / '0.out').read_text() == "['0.0', '1.0', '2.0', '0.1', '1.1']\n"
    assert (tmp_path / '1.out').read_text() == 'None\n'
    assert not list((tmp_path / 'temporary').glob('**/part_*'))
