"""A secret key of the user, by which mmhybrid recognises what it has written itself."""

import os
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path

SIZE = 32


@cache
def own_key() -> bytes:
    """Return random bytes that all processes of the user share, and that no file from others can contain.

    The key is kept in ``$XDG_STATE_HOME/mmhybrid`` (``~/.local/state/mmhybrid``). If nothing can be kept there, or
    somebody else may read or write it, the key belongs to this process alone.
    """
    state = os.environ.get('XDG_STATE_HOME')
    with suppress(OSError, RuntimeError):  # a home that is missing or cannot be written to
        folder = (Path(state) if state else Path.home() / '.local/state') / 'mmhybrid'
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _shared(folder / 'key')
    return secrets.token_bytes(SIZE)


def _shared(path: Path) -> bytes:
    """Return the content of the key file; the first process that asks writes it.

    Raises:
        OSError: If the file cannot be read or written, or is not the user's own.
    """
    if not path.exists():
        part = path.with_name(f'.{path.name}.{os.getpid()}')
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as file:
                file.write(secrets.token_bytes(SIZE))
            with suppress(FileExistsError):  # another process was faster
                os.link(part, path)
        finally:
            part.unlink(missing_ok=True)
    file_no = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(file_no, 'rb') as file:
        about, key = os.fstat(file_no), file.read()
    if about.st_uid != os.getuid() or about.st_mode & 0o077 or len(key) != SIZE:
        raise PermissionError(f'{path}: not a key of this user alone')
    return key
