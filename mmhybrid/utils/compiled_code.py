"""Where programs keep code that torch.compile makes and loads again."""

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

CACHE = 'TORCHINDUCTOR_CACHE_DIR'


def keep_own_code() -> None:
    """Let torch.compile keep what it compiles in a folder of the user's alone, unless the environment names one.

    Its own default is a folder in the system's one for temporary files, with a name that everybody knows: who makes it
    first may put libraries there that are loaded as its own. Here it is ``mmhybrid/torchinductor`` in
    ``$XDG_CACHE_HOME`` (``~/.cache``), or, where nothing can be kept there or others may write there, a new folder that
    goes with this process.
    """
    if CACHE in os.environ:
        return
    cache = os.environ.get('XDG_CACHE_HOME')
    with suppress(OSError, RuntimeError):  # a home that cannot be written to, or none
        folder = (Path(cache) if cache else Path.home() / '.cache') / 'mmhybrid/torchinductor'
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
        if not folder.is_symlink() and about.st_uid == os.getuid() and not about.st_mode & 0o022:
            os.environ[CACHE] = str(folder)
            return
    os.environ[CACHE] = own = tempfile.mkdtemp(prefix='torchinductor_')
    atexit.register(shutil.rmtree, own, ignore_errors=True)
