"""Protection against code in the current folder, which others may own, in our programs and their processes.

``python -m`` and ``python -c`` look for modules there first. This module is imported before any other package, so it
needs only modules that Python itself has imported.
"""

import os
import re
import sys
from collections.abc import Sequence

# This statement stands in front of programs of ``python -c`` before Python 3.11, which has no PYTHONSAFEPATH.
WITHOUT_IT = 'import sys; sys.path[:1] == [""] and sys.path.pop(0)\n'

# Libraries that NVIDIA's cusparselt opens when torch is imported, or later. It comes with the CUDA builds of torch, and
# an empty entry in its RUNPATH stands for the current folder. During the import, that is a folder of the system's.
LIBRARIES = re.compile(r'lib(cuda|nvrtc|cask)[\w.-]*\.so(\.\d+)*')
# In these folders, and in these within each other, the loader of glibc looks first; they are named after processors.
HARDWARE = re.compile(
    r'tls|glibc-hwcaps|x86[-_]64.*|haswell|xeon_phi|avx512_1|i\d86|sse2|aarch64|atomics|power\d+|z\d+'
)
DEEPEST = 4
SAFE = os.sep  # only the system's own administrator writes there


def import_torch() -> None:
    """Import torch while the current folder is the root folder, and return, even to a folder that has been removed.

    Libraries that torch loads from the current folder are thus never those of its owner, who may put them there at any
    moment. A current folder that may not be entered is not returned to. Only Linux looks for libraries there.
    """
    if 'torch' in sys.modules or sys.platform != 'linux':
        return
    try:
        here = os.open('.', os.O_PATH)
    except PermissionError:
        here = None
    os.chdir(SAFE)
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:  # whoever needs it says so, or finds it by a path that is not absolute
        if error.name != 'torch':
            raise
    finally:
        if here is not None:
            os.fchdir(here)
            os.close(here)


def refuse_libraries() -> None:
    """Refuse a current folder with libraries that the CUDA builds of torch would load from there.

    Nothing is refused once torch is imported, because it is then too late.

    Raises:
        ImportError: If there is such a library. The message names it.
    """
    if 'torch' in sys.modules:
        return
    name = _library_in('.', DEEPEST)
    if name:
        raise ImportError(
            f'the current folder has {name}, which torch would load in place of the one of the system: change to '
            'another folder'
        )


def _library_in(folder: str, depth: int) -> str:
    """Return the path of such a library in a folder, or below it where the loader looks too; empty if there is none."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # the folder is gone or may not be listed, so nobody can guess its libraries either
        return ''
    paths = {name: os.path.normpath(os.path.join(folder, name)) for name in names}
    found = [path for name, path in paths.items() if LIBRARIES.fullmatch(name)]
    if depth:
        below = (_library_in(path, depth - 1) for name, path in paths.items() if HARDWARE.fullmatch(name))
        found += filter(None, below)
    return found[0] if found else ''


def leave_out_of_module_runs(package: str, file: str) -> None:
    """Remove the current folder from ``sys.path`` if ``python -m package`` has put it there.

    The folder stays if the package itself was found only there, as in a clone, or if PYTHONPATH names it.

    Args:
        package: Name of the package that is being imported; its modules may also be run (``-m package.module``).
        file: Path of its ``__init__.py``.
    """
    if sys.argv[:1] != ['-m'] or getattr(sys.flags, 'safe_path', False) or sys.flags.isolated:
        return
    named = re.search(rf'(^|\0)-[^-\0]*m\0?{re.escape(package)}(\.[^\0]*)?(\0|$)', '\0'.join(sys.orig_argv))
    first, *others = sys.path
    folder = os.path.dirname(os.path.dirname(file))
    if named and (first != folder or folder in others):
        sys.path.pop(0)


def hide_from_children() -> None:
    """Keep the Python processes that this one starts from importing from the current folder; for programs alone.

    The workers of data loaders that are spawned, their resource tracker and torch's probe for vector instructions run
    ``python -c``. Since Python 3.11, an environment variable is enough, which the user may have set otherwise. Before,
    :func:`without_it` changes the programs of multiprocessing's processes. Those of torch are started elsewhere
    (:mod:`mmhybrid.compat`).
    """
    os.environ.setdefault('PYTHONSAFEPATH', '1')
    if sys.version_info < (3, 11):
        tell_multiprocessing()


def tell_multiprocessing() -> None:
    """Let the processes that multiprocessing starts leave out the current folder; a second call does nothing."""
    from multiprocessing import util

    spawn = util.spawnv_passfds
    if not hasattr(spawn, 'told'):

        def spawn_told(path: bytes, args: Sequence[str], passfds: Sequence[int]) -> int:
            return spawn(path, without_it(args), passfds)

        spawn_told.told = True  # type: ignore[attr-defined]
        util.spawnv_passfds = spawn_told  # type: ignore[assignment]


def without_it(command: Sequence[str]) -> list[str]:
    """Return the command of a Python process with a program after ``-c`` that first leaves out the current folder."""
    words = list(command)
    if '-c' in words[:-1]:
        place = words.index('-c') + 1
        words[place] = WITHOUT_IT + words[place]
    return words
