"""Files that are written whole or not at all, and JSON in them."""

import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

# A value in a message has at most this many characters.
LONGEST = 200
# An integer in JSON has at most this many digits, because floats end after 308.
LONGEST_INT = 300
# A file is written under this name before it gets its own: .NAME.PID, or in a folder .NAME.part-RANDOM for files that
# other programs write.
_PART = re.compile(r'\.(.+)\.(\d+|part-\w{8})')


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write ``content`` to a file, whole or not at all.

    An interrupted write leaves the old file as it was, and a failed one leaves nothing of its own. Links are followed.
    If the path exists and is not a regular file (a device, a pipe), it is written to and never replaced.

    Raises:
        ValueError: If the folder does not exist.
    """
    check_target(path)
    data = content.encode() if isinstance(content, str) else content
    if is_special(path):
        Path(path).write_bytes(data)
        return
    place = Path(path).resolve()
    remove_parts(place.parent, re.escape(place.name))
    part = place.with_name(f'.{place.name}.{os.getpid()}')
    try:
        with _new_part(part) as file:
            if place.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(place.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, place)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk's error does not name the file
    finally:
        part.unlink(missing_ok=True)


def _new_part(part: Path) -> BinaryIO:
    """Return a new empty file, locked for as long as this process writes to it."""
    while True:
        part.unlink(missing_ok=True)
        file = part.open('xb')  # this never follows a link that somebody else put there
        with suppress(OSError):  # the file system may have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process took it for an abandoned one and removed it


@contextmanager
def part_folder(place: Path) -> Iterator[Path]:
    """Provide a folder beside ``place`` that is removed afterwards, for programs that open files themselves."""
    remove_parts(place.parent, re.escape(place.name))
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f'.{place.name}.part-') as name:
        folder = os.open(name, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(folder)


def remove_parts(folder: Path, names: str) -> None:
    """Remove the unfinished files that killed processes have left in ``folder``.

    A process holds a lock on the file that it writes, and the lock ends with the process. If the file system has no
    locks, the files stay.

    Args:
        folder: Folder of the files.
        names: Regular expression that their names match.
    """
    for part in folder.iterdir():
        found = _PART.fullmatch(part.name)
        if found is None or not re.fullmatch(names, found[1]) or part.is_symlink():
            continue
        with suppress(OSError):  # somebody writes to it, or has just removed it
            file = os.open(part, os.O_RDONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if part.is_dir():
                    shutil.rmtree(part)
                else:
                    part.unlink()
            finally:
                os.close(file)


def write_json(path: str | Path, content: Any, indent: int = 1) -> None:
    """Write ``content`` as JSON, whole or not at all.

    Raises:
        ValueError: If the folder does not exist.
    """
    write_whole(path, f'{json.dumps(content, indent=indent)}\n')


def drop_link_outward(path: str | Path) -> None:
    """Remove a link that leads out of its folder, before a program writes a file of that name.

    The name is the program's own, not the user's. A work folder may come from others, and writing in it must not
    replace a file elsewhere. Links within the folder, and links to devices and pipes, stay.
    """
    if leads_outward(path):
        Path(path).unlink(missing_ok=True)  # several processes may remove it at once


def open_own(path: str | Path, append: bool = False) -> TextIO:
    """Open a text file for writing, under a name that is the program's own and not the user's.

    A link of that name is removed, wherever it leads. Without ``append`` an older file is replaced instead of emptied,
    since it may have another name elsewhere.
    """
    place = Path(path)
    if not append or place.is_symlink():
        place.unlink(missing_ok=True)
    flags = os.O_APPEND if append else os.O_EXCL  # neither follows a link that appears in between
    number = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flags, 0o666)
    return os.fdopen(number, 'a' if append else 'w')


def leads_outward(path: str | Path) -> bool:
    """Return whether ``path`` is a link to a file in another folder; the file need not exist.

    Raises:
        ValueError: If no file can be written there, see :func:`check_target`.
    """
    place = Path(path)
    if not place.is_symlink() or is_special(place):
        return False
    check_target(place)
    return place.resolve().parent != place.parent.resolve()


def check_stays_within(path: str | Path, root: str | Path) -> None:
    """Raise ValueError if ``path``, a folder below ``root`` that need not exist yet, leads out of it by a link.

    ``root`` is named by the user and may itself be a link, but what is below it may come from others.
    """
    try:
        place, within = Path(path).resolve(), Path(root).resolve()
    except (OSError, RuntimeError) as error:  # Python raises one or the other
        raise ValueError(f'{path}: a link that leads to itself') from error
    if not place.is_relative_to(within):
        raise ValueError(f'{path}: a link to {place}, out of {root}; remove it, or name that folder yourself')


def check_target(path: str | Path) -> None:
    """Raise ValueError if no file can be written to ``path``, so that it is known before long work."""
    try:
        place = Path(path).resolve()
    except (OSError, RuntimeError) as error:  # Python raises one or the other
        raise ValueError(f'{path}: a link that leads to itself') from error
    if place.is_symlink():  # since Python 3.13 it is not an error
        raise ValueError(f'{path}: a link that leads to itself')
    if not place.parent.is_dir():
        raise ValueError(f'{path}: its folder does not exist')
    if place.is_dir():
        raise ValueError(f'{path}: a folder, not a file')


def is_special(path: str | Path) -> bool:
    """Return whether ``path`` exists and is neither a file nor a folder: a device, a pipe or a socket."""
    return Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()


def read_text(path: str | Path, longest: int | None = None) -> str:
    """Return the text of a regular file; a pipe would be waited for without end, and a device has no text.

    Raises:
        ValueError: If it is not a file, is not UTF-8, or has more than ``longest`` bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'{path} {"is not a file" if path.exists() else "does not exist"}')
    if longest is not None and path.stat().st_size > longest:
        raise ValueError(f'{path}: {path.stat().st_size} bytes, allowed: at most {longest}')
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: no text ({error})') from error


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ValueError: If the file does not exist, holds no JSON object, or has a key twice.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'{path} {"is not a file" if path.exists() else "does not exist"}')
    try:
        content = parse_json(path.read_text())
    except ValueError as error:
        raise ValueError(f'{path}: not JSON, perhaps truncated ({error})') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path}: not a JSON object')
    return content


def parse_json(text: str | bytes) -> Any:
    """Return the content of a JSON text.

    Raises:
        ValueError: If it is not JSON, has a key twice or an integer larger than any float, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_int=_whole)
    except RecursionError:
        raise ValueError('nested too deeply') from None


def _whole(digits: str) -> int:
    """Return an int that a float can hold too, because nothing counts further and larger ones raise when formatted."""
    if len(digits) > LONGEST_INT:
        raise ValueError(f'a number of {len(digits)} digits')
    return int(digits)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dict; if a key is there twice, Python would silently keep the last value."""
    content = dict(pairs)
    if len(content) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f'the key {twice!r} is there twice')
    return content


def plain(content: Any) -> Any:
    """Return ``content`` as it is read back from a JSON file, with lists for tuples and strings for keys."""
    return json.loads(json.dumps(content))


def first_difference(stored: object, now: object, path: str = '') -> str:
    """Return in words where two pieces of JSON first differ; empty if they are equal."""
    if isinstance(stored, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*stored, *now]):
            place = f'{path}.{name}' if path else name
            if difference := first_difference(stored.get(name), now.get(name), place):
                return difference
        return ''
    if isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
        pairs = enumerate(zip(stored, now, strict=True))
        return next((text for i, (a, b) in pairs if (text := first_difference(a, b, f'{path}[{i}]'))), '')
    return '' if stored == now else f'{path} was {_few_words(stored)}, now {_few_words(now)}'


def _few_words(content: object) -> str:
    """Return JSON that is short enough for a message."""
    text = json.dumps(content)
    if len(text) <= LONGEST:
        return text
    return f'a list of {len(content)}' if isinstance(content, list) else f'{text[:LONGEST]} ...'
