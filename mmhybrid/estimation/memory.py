"""Memory that stays where it is while networks are timed."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Of glibc's malloc.h: what may be free at the end of the heap before it is returned, and how many blocks may lie
# outside the heap, which are returned as soon as they are free.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
KEEP_ALL = 2**31 - 1
# What glibc starts with, and what it raises the first of them to by itself.
GROWN_TRIM_THRESHOLD, DEFAULT_MMAP_MAX = 64 * 2**20, 65536


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the process keep the memory that it frees (glibc; elsewhere nothing is changed).

    A network that runs over and over asks for the same blocks each time. Whether these went back to the system in
    between depends on what else lies in the heap, and to get them again, page by page, takes up to 15 % of a small
    network's time: more in one process than in another. Afterwards memory is given back as usual.
    """
    if platform.libc_ver()[0] != 'glibc':
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(TRIM_THRESHOLD, KEEP_ALL)
    libc.mallopt(MMAP_MAX, 0)
    try:
        yield
    finally:
        libc.mallopt(TRIM_THRESHOLD, GROWN_TRIM_THRESHOLD)
        libc.mallopt(MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.malloc_trim(0)
