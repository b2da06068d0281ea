"""Fresh Python processes without the seconds of importing torch: forks of a process that imported it, and no mmhybrid.

A fork runs a script as ``python -c`` does, in an environment of its own.
"""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def run_python(
    script: str,
    *arguments: object,
    imported: str = 'torch mmengine.runner',
    found_by_torch: Path | None = None,
    folders: Sequence[Path] = (),
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """What ``python -c script`` answers where modules are ``imported``.

    Torch looks for packages that want to be imported with it in the folder ``found_by_torch``, and else for none.
    """
    server = start_server(imported, found_by_torch)
    with TemporaryDirectory() as folder:
        request = {
            'script': script,
            'arguments': [str(argument) for argument in arguments],
            'environment': environment_of(folders, **variables),
            'folder': folder,
        }
        server.stdin.write(json.dumps(request) + '\n')
        server.stdin.flush()
        code = int(server.stdout.readline())
        out, err = (Path(folder, name).read_text() for name in ('out', 'err'))
    return subprocess.CompletedProcess([script, *arguments], code, out, err)


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
    for name in sys.argv[1].split():
        import_module(name)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(**json.loads(line))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f'{code}\n')
        sys.stdout.flush()


def become(script: str, arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Run the script as a program that was started with these, to its end."""
    for number, path in enumerate((os.devnull, f'{folder}/out', f'{folder}/err')):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ['-c', *arguments]
    sys.path[:1] = ['', *environment['PYTHONPATH'].split(os.pathsep)]
    main = sys.modules['__main__'] = ModuleType('__main__')
    exec(compile(script, '<string>', 'exec'), main.__dict__)
    sys.stdout.flush()
    os._exit(0)  # spares the end of an interpreter that holds torch


if __name__ == '__main__':
    serve()
