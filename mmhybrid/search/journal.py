"""The journal file: its locks, and the repair of its end."""

import fcntl
import os
from hashlib import blake2b
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from mmhybrid.search.errors import StorageError, damaged
from mmhybrid.utils.files import drop_link_outward, is_special, parse_json

LINE_START = b'{"op_code":'


class JournalFile:
    """The journal file, held open so that no second search writes to it unless both share it."""

    def __init__(self, path: Path, shared: bool) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_special(path):
            raise StorageError(f'{path}: no file')
        # The file is opened for writing because NFS gives an exclusive lock to no other descriptor.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock(self._file, path, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            check_lines(path)
        except BaseException:
            os.close(self._file)
            raise

    def storage(self) -> BaseStorage:
        """Return Optuna's storage on the journal."""
        return JournalStorage(JournalFileBackend(str(self._path), lock_obj=KernelLock(str(self._path))))

    def close(self) -> None:
        """Close the journal, which releases its lock."""
        os.close(self._file)


def lock(file: int, path: Path, kind: int) -> None:
    """Lock an open file.

    Raises:
        StorageError: If another process holds the lock, or the file system has no locks.
    """
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        raise StorageError(f'{path}: another process searches in it; wait for its end, or share it') from None
    except OSError as error:
        raise StorageError(
            f'{path}: its file system gives no locks ({error.strerror}), without which two processes could spoil it; '
            'name a storage elsewhere, on a disk or in a database'
        ) from error


class KernelLock(JournalFileOpenLock):
    """The lock of an append, which the system releases when its holder dies; Optuna's own locks then wait 30 s."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._held = -1

    def acquire(self) -> bool:
        """Wait for the lock, and remove the unfinished line that a dead holder may have left."""
        path = Path(f'{self._path}.flock')
        drop_link_outward(path)
        self._held = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            lock(self._held, path, fcntl.LOCK_EX)
            cut_unfinished_line(Path(self._path))
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Release the lock, even if a process that was forked in the meantime has the descriptor too."""
        fcntl.flock(self._held, fcntl.LOCK_UN)
        os.close(self._held)


def check_lines(path: Path) -> None:
    """Raise StorageError unless the file is a journal whose lines all differ; its last line may be unfinished."""
    seen: set[bytes] = set()
    with path.open('rb') as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b'\n'):
                is_sound = line[: len(LINE_START)] == LINE_START[: len(line)]
            else:
                try:
                    is_sound = line.startswith(LINE_START) and isinstance(parse_json(line), dict)
                except ValueError:
                    is_sound = False
            if not is_sound:
                raise damaged(str(path), f'line {number} is not as it was written')
            digest = blake2b(line, digest_size=16).digest()
            if digest in seen:  # every line has its writer, and a time or a trial of its own
                raise damaged(str(path), f'line {number} is there a second time')
            seen.add(digest)


def cut_unfinished_line(path: Path) -> None:
    """Remove the unfinished last line that a process left if it was killed while it wrote."""
    with path.open('rb+') as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b'\n':
            file.seek(0)
            file.truncate(file.read().rfind(b'\n') + 1)
