"""Fresh Python processes without the seconds of importing torch: forks of a process that has done so.

A fork runs a script as ``python -c`` does, in an environment of its own.
"""

import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOOLS = 'mmhybrid.apis.testing mmhybrid.apis.retraining mmpretrain.models mmpretrain.datasets'
RUN_FILE = 'import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name="__main__")'
# For tools, and functions in processes of their own: with all that tools need, without the threads of this process.
CONTEXT = get_context('forkserver')
CONTEXT.set_forkserver_preload([*TOOLS.split(), 'pytest', 'hypothesis'])


def run_python(
    script: str,
    *arguments: object,
    imported: str = 'torch mmengine.runner',
    found_by_torch: Path | None = None,
    folders: Sequence[Path] = (),
    cwd: Path | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """What ``python -c script`` answers where modules are ``imported``, those of mmhybrid only if they are named.

    It runs in the folder ``cwd``, or else in this process's.
    Torch looks for packages that want to be imported with it in the folder ``found_by_torch``, and else for none.
    """
    server = start_server(imported, found_by_torch)
    (done,) = _ask(server, script, arguments, [environment_of(folders, **variables)], cwd or Path.cwd())
    return done


def run_tool(
    tool: str, *arguments: object, cwd: Path, folders: Sequence[Path] = (), num_ranks: int = 1
) -> list[subprocess.CompletedProcess[str]]:
    """How a tool ends in the folder ``cwd``, on each of several ranks as a launcher starts them."""
    environments = [environment_of(folders)]
    if num_ranks > 1:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        shared = {'WORLD_SIZE': str(num_ranks), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
        ranks = [str(rank) for rank in range(num_ranks)]
        environments = [environment_of(folders, RANK=rank, LOCAL_RANK=rank, **shared) for rank in ranks]
    words = [str(word) for word in (ROOT / 'tools' / f'{tool}.py', *arguments)]
    with TemporaryDirectory() as folder:
        outputs = [f'{folder}/{number}.' for number in range(len(environments))]
        processes = [
            CONTEXT.Process(target=become, args=(RUN_FILE, words, environment, output, str(cwd)))
            for environment, output in zip(environments, outputs, strict=True)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [_ended(RUN_FILE, process.exitcode, out) for process, out in zip(processes, outputs, strict=True)]


def _ask(
    server: Any, script: str, arguments: Sequence[object], environments: Sequence[Mapping[str, str]], cwd: Path
) -> list[subprocess.CompletedProcess[str]]:
    """How the script ends in each environment, in processes at the same time."""
    with TemporaryDirectory() as folder:
        outputs = [f'{folder}/{number}.' for number in range(len(environments))]
        places = [{'environment': e, 'output': o, 'cwd': str(cwd)} for e, o in zip(environments, outputs, strict=True)]
        script_of_all = {'script': script, 'arguments': [str(argument) for argument in arguments]}
        server.stdin.write(json.dumps([{**script_of_all, **place} for place in places]) + '\n')
        server.stdin.flush()
        codes = json.loads(server.stdout.readline())
        return [_ended(script, code, output) for code, output in zip(codes, outputs, strict=True)]


def _ended(script: str, code: int, output: str) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(script, code, *(Path(output + name).read_text() for name in ('out', 'err')))


def environment_of(folders: Sequence[Path] = (), **variables: str) -> dict[str, str]:
    """Of a process on one thread that finds ``folders``, then this mmhybrid, which torch does not import by itself."""
    own = {
        'PYTHONPATH': os.pathsep.join(map(str, (*folders, ROOT))),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'TORCH_DEVICE_BACKEND_AUTOLOAD': '0',
    }
    return {**os.environ, **own, **variables}


@cache
def start_server(imported: str, found_by_torch: Path | None) -> Any:
    """The process that is forked; it ends when this one does."""
    environment = environment_of()
    if found_by_torch:
        environment = environment_of([found_by_torch], TORCH_DEVICE_BACKEND_AUTOLOAD='1')
    command = [sys.executable, __file__, imported]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def serve() -> None:
    """Fork for each line of the standard input."""
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what is imported may write
    for name in sys.argv[1].split():
        import_module(name)
    gc.freeze()
    for line in sys.stdin:
        children = []
        for place in json.loads(line):
            child = os.fork()
            if not child:
                become(**place)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        answers.write(f'{codes}\n')
        answers.flush()


def is_installed(folder: str) -> bool:
    """Whether it is not a folder of the checkout, some of which pytest adds to the path."""
    in_checkout = Path(folder).is_relative_to(ROOT) and not Path(folder).is_relative_to(sys.prefix)
    return folder != '' and not in_checkout


def become(script: str, arguments: list[str], environment: dict[str, str], output: str, cwd: str) -> None:
    """Run the script as a program that was started with these, to its end."""
    os.chdir(cwd)
    for number, path in enumerate((os.devnull, f'{output}out', f'{output}err')):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    if 'torch' in sys.modules:  # which has read how many threads it may use
        sys.modules['torch'].set_num_threads(int(environment['OMP_NUM_THREADS']))
    sys.argv = ['-c', *arguments]
    sys.path[:] = ['', *environment['PYTHONPATH'].split(os.pathsep), *filter(is_installed, sys.path)]
    main = sys.modules['__main__'] = ModuleType('__main__')
    exec(compile(script, '<string>', 'exec'), main.__dict__)
    sys.stdout.flush()
    os._exit(0)  # spares the end of an interpreter that holds torch


if __name__ == '__main__':
    serve()
