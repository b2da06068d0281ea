"""Memory that stays where it is while networks are timed."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Of glibc's malloc.h: what may be free at the end of the heap before it is returned (-1: all of it), which blocks lie
# outside the heap and are returned as soon as they are free, and how many of these there may be.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
# How a reader of mallopt's manual sets them for a whole process.
VARIABLES = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'MALLOC_MMAP_MAX_')
# What glibc raises both thresholds to by itself, which it no longer does once they are set, and what it starts with.
GROWN_TRIM_THRESHOLD, GROWN_MMAP_THRESHOLD, DEFAULT_MMAP_MAX = 64 * 2**20, 32 * 2**20, 65536


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the process keep the memory that it frees (glibc; elsewhere, or if its environment decides, nothing changes).

    A network that runs over and over asks for the same blocks each time. Whether these went back to the system in
    between depends on what else lies in the heap, and to get them again, page by page, makes a small network 10 %
    slower on average and some by a quarter; which ones differs from process to process. Kept memory settles within ten
    runs. Afterwards it is given back as in any process that has freed large blocks. Not to be nested.
    """
    if platform.libc_ver()[0] != 'glibc' or any(name in os.environ for name in VARIABLES):
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(TRIM_THRESHOLD, -1)
    libc.mallopt(MMAP_MAX, 0)
    try:
        yield
    finally:
        libc.mallopt(TRIM_THRESHOLD, GROWN_TRIM_THRESHOLD)
        libc.mallopt(MMAP_THRESHOLD, GROWN_MMAP_THRESHOLD)
        libc.mallopt(MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.malloc_trim(0)
