"""Calls of a storage that are repeated while its server does not answer."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
    TimeoutError,
)

from mmhybrid.search.errors import StorageError
from mmhybrid.search.optuna_tools import quiet
from mmhybrid.utils.addresses import without_passwords
from mmhybrid.utils.errors import first_line

T = TypeVar('T')

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
# These classes of SQLSTATE have causes that pass: connection, read-only while a standby takes over, conflict of
# transactions, resources, lock, operator. https://www.postgresql.org/docs/current/errcodes-appendix.html
PASSING = ('08', '25', '40', '53', '55', '57')
# These are the codes SQLITE_BUSY and SQLITE_LOCKED, and the words that both messages contain.
# https://www.sqlite.org/rescode.html
_SQLITE_LOCKED = (5, 6)
_SAYS_LOCKED = ' is locked'


def to_nobody(text: str) -> None:
    """Discard a message."""


class Reconnecting:
    """A caller that repeats a call of a storage, with growing pauses, while its server does not answer.

    Args:
        location: Location of the storage, for messages.
        tell: Function that receives a message when the server does not answer, and when it answers again.
    """

    def __init__(self, location: str, tell: Callable[[str], None] = to_nobody) -> None:
        self._location = location
        self._tell = tell

    def __call__(self, action: Callable[..., T], *args: Any, seconds: float, **options: Any) -> T:
        """Call ``action`` until it succeeds and return its result.

        Args:
            action: Call of Optuna, which may be repeated.
            args: Positional arguments of the call.
            seconds: Duration in seconds for which to repeat it.
            options: Keyword arguments of the call.

        Raises:
            StorageError: If the server does not answer in time, or the storage is damaged.
            UpdateFinishedTrialError: If the call changes a trial that has ended.
        """
        began, pause, is_told = time.monotonic(), SHORTEST_PAUSE, False
        while True:
            try:
                # Optuna would warn of errors after which the call is repeated here.
                with quiet(optuna.logging.ERROR):
                    found = action(*args, **options)
                break
            except (StorageError, UpdateFinishedTrialError):
                raise
            except OSError as error:
                raise StorageError(f'{self._location}: {error}') from error
            except Exception as error:
                detail = without_passwords(first_line(error.__cause__ or error))
                if not is_passing(error):
                    raise StorageError(
                        f'{self._location} cannot be read, it is damaged or not reachable: {detail}'
                    ) from error
                if time.monotonic() - began + pause > seconds:
                    raise StorageError(
                        f'{self._location} has not answered for {_duration(seconds)} ({detail}); what is stored is '
                        'safe, start again with --resume once it answers'
                    ) from error
                if not is_told and pause > 2 * SHORTEST_PAUSE:
                    self._tell(f'{self._location} does not answer ({detail}); trying for {_duration(seconds)}')
                    is_told = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        if is_told:
            self._tell(f'{self._location} answers again')
        return found


def is_passing(error: Exception) -> bool:
    """Return whether the same call may succeed later, because the server is away or busy and the data are sound."""
    cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
    # Optuna repeats a large query that failed in the same transaction, which raises these errors.
    if isinstance(cause, PendingRollbackError | TimeoutError):
        return True
    if not isinstance(cause, DBAPIError):
        return False
    if isinstance(cause.orig, sqlite3.Error):
        code = getattr(cause.orig, 'sqlite_errorcode', None)  # Python 3.10 does not have it
        return _SAYS_LOCKED in str(cause.orig) if code is None else code & 0xFF in _SQLITE_LOCKED
    state = getattr(cause.orig, 'sqlstate', None) or getattr(cause.orig, 'pgcode', None)
    if state is not None:
        return state[:2] in PASSING
    return cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)


def _duration(seconds: float) -> str:
    return f'{seconds / 60:g} min' if seconds >= 60 else f'{seconds:g} s'
