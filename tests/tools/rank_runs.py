"""Runs of a tool on two ranks, each in a process that ends as the tool alone ends.

python rank_runs.py TOOL NUM_RUNS NUM_AT_ONCE FOLDER ARGUMENTS...

The packages are imported once, and each rank is a fork of this process: it runs the tool's file, and then the end of
its interpreter. ``RUN`` in the arguments becomes the folder of a run, which has the output of rank R in ``R.txt``.
Writes the exit codes of the ranks of each run as JSON.
"""

import json
import os
import runpy
import socket
import sys
from importlib import import_module
from pathlib import Path

import torch

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
NUM_RANKS = 2


def preload() -> None:
    for module in ('mmhybrid.apis.retraining', 'mmpretrain.models', 'mmpretrain.datasets'):
        import_module(module)
    torch.set_num_threads(1)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port: int = server.getsockname()[1]
        return port


def become_rank(tool: str, arguments: list[str], folder: Path, rank: int, port: int) -> None:
    """What a launcher does for a rank; returns when the tool has, unless that ends the process."""
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(NUM_RANKS)}
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    output = os.open(folder / f'{rank}.txt', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = [str(TOOLS / tool), *(argument.replace('RUN', str(folder)) for argument in arguments)]
    sys.argv += ['--launcher', 'pytorch']
    runpy.run_path(sys.argv[0], run_name='__main__')


def main() -> None:
    tool, num_runs, num_at_once, parent, *arguments = sys.argv[1:]
    preload()
    codes: dict[int, list[int | None]] = {}
    running: dict[int, tuple[int, int]] = {}
    waiting = list(range(int(num_runs)))
    while waiting or running:
        while waiting and len(running) <= NUM_RANKS * (int(num_at_once) - 1):
            run, port = waiting.pop(0), free_port()
            folder = Path(parent, str(run))
            folder.mkdir(parents=True)
            codes[run] = [None] * NUM_RANKS
            for rank in range(NUM_RANKS):
                process = os.fork()
                if not process:
                    become_rank(tool, arguments, folder, rank, port)
                    return
                running[process] = run, rank
        process, status = os.wait()
        run, rank = running.pop(process)
        codes[run][rank] = os.waitstatus_to_exitcode(status)
    json.dump([codes[run] for run in sorted(codes)], sys.stdout)


if __name__ == '__main__':
    main()
