"""The current folder, which may be one of others: no program of ours imports from it, nor do the processes it starts.

``python -m`` and ``python -c`` look for modules there first. This module is imported before any other package, and so
needs what Python itself has imported.
"""

import os
import re
import sys
from collections.abc import Sequence

# For ``python -c`` before Python 3.11, which knows no PYTHONSAFEPATH.
WITHOUT_IT = 'import sys; sys.path[:1] == [""] and sys.path.pop(0)\n'


def leave_out_of_module_runs(package: str, file: str) -> None:
    """Take the current folder from ``sys.path`` where ``python -m package`` has put it.

    Where the package itself was found there alone, as in a clone, it stays. So does what PYTHONPATH names.

    Args:
        package: The package that is being imported, whose modules may be run too (``-m package.module``).
        file: Its ``__init__.py``.
    """
    if sys.argv[:1] != ['-m'] or getattr(sys.flags, 'safe_path', False) or sys.flags.isolated:
        return
    named = re.search(rf'(^|\0)-[^-\0]*m\0?{re.escape(package)}(\.[^\0]*)?(\0|$)', '\0'.join(sys.orig_argv))
    first, *others = sys.path
    folder = os.path.dirname(os.path.dirname(file))
    if named and (first != folder or folder in others):
        sys.path.pop(0)


def hide_from_children() -> None:
    """Let the Python processes that this one starts import nothing from the current folder; for programs alone.

    Workers of data loaders that are spawned, their resource tracker and torch's probe for vector instructions run
    ``python -c``. Since Python 3.11 a variable is enough, which the user may have set otherwise; before, the processes
    of multiprocessing are told in their program (:func:`without_it`), and torch's by :mod:`mmhybrid.compat`.
    """
    os.environ.setdefault('PYTHONSAFEPATH', '1')
    if sys.version_info < (3, 11):
        tell_multiprocessing()


def tell_multiprocessing() -> None:
    """Let the processes that multiprocessing starts leave the current folder out; again is harmless."""
    from multiprocessing import util

    spawn = util.spawnv_passfds
    if not hasattr(spawn, 'told'):

        def spawn_told(path: bytes, args: Sequence[str], passfds: Sequence[int]) -> int:
            return spawn(path, without_it(args), passfds)

        spawn_told.told = True  # type: ignore[attr-defined]
        util.spawnv_passfds = spawn_told  # type: ignore[assignment]


def without_it(command: Sequence[str]) -> list[str]:
    """The command of a Python process, whose program after ``-c`` leaves the current folder out first."""
    words = list(command)
    if '-c' in words[:-1]:
        place = words.index('-c') + 1
        words[place] = WITHOUT_IT + words[place]
    return words
