"""The folder in which programs keep the code that torch.compile makes and loads again."""

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

CACHE = 'TORCHINDUCTOR_CACHE_DIR'


def keep_own_code() -> None:
    """Let torch.compile keep its code in a folder of the user alone, unless the environment names one.

    Its default is a folder of a known name in the system's folder for temporary files. Whoever creates that folder
    first may put libraries there, which are then loaded as the user's own. Here, the folder is
    ``mmhybrid/torchinductor`` in ``$XDG_CACHE_HOME`` (``~/.cache``). If nothing can be written there, or others may
    write there, it is a new folder that is removed when this process ends.
    """
    if os.environ.get(CACHE):  # torch takes an empty name for the current folder
        return
    cache = os.environ.get('XDG_CACHE_HOME')
    with suppress(OSError, RuntimeError):  # a home that is missing or cannot be written to
        folder = (Path(cache) if cache else Path.home() / '.cache') / 'mmhybrid/torchinductor'
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()
        if not folder.is_symlink() and about.st_uid == os.getuid() and not about.st_mode & 0o022:
            os.environ[CACHE] = str(folder)
            return
    os.environ[CACHE] = own = tempfile.mkdtemp(prefix='torchinductor_')
    atexit.register(shutil.rmtree, own, ignore_errors=True)
