"""Handling of the signal by which a cluster ends a process."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit within the block, so that running work is cleaned up; for the main thread only.

    Processes that are forked within the block end at once, as they do without it.
    """
    owner, before = os.getpid(), signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise SystemExit(128 + number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
