"""How a program ends: a user's mistake is told in one sentence, and all other errors keep their traceback."""

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmhybrid.engine.phase import Phase
from mmhybrid.utils.addresses import without_passwords
from mmhybrid.utils.errors import CannotGoOnError, printable, shortened
from mmhybrid.utils.images import UnreadImageError
from mmhybrid.utils.optional import told

EXIT_CODE = 2  # argparse's exit code for a wrong command line
# Errors of a disk that is full or cannot be written to.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENAMETOOLONG)
# Prefixes of the names of MMEngine's functions that build or set up what a config describes.
BUILDERS = ('build', 'from_cfg', 'init_default_scope', 'register_', 'scale_lr', 'setup_', 'set_randomness')
# The function that loads the state of a training, whose parts do not check what they load.
RESUMING = 'load_or_resume'


@contextmanager
def ending_on_mistakes() -> Iterator[Phase]:
    """End the program with one sentence on stderr and exit code 2 for a user's mistake; for programs only.

    Work that cannot continue (a search) ends with its reason and exit code 1, at any time. Errors of a full or
    read-only disk, and of images that cannot be read, are told in one sentence at any time too. Other errors, and any
    error while a runner is at work, keep their traceback. Errors that other packages raise in the first iterations or
    the first validation are the exception, since parts of a config that do not fit together cause them.

    Yields:
        The phase, which tells whether a runner is at work.
    """
    phase = Phase()
    try:
        yield phase
    except CannotGoOnError as error:
        raise SystemExit(_told(f'{error}')) from error
    except Exception as error:
        sentence = _misfit(error) if phase.trying else None if phase.at_work else _mistake(error)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            sentence = ' '.join(str(error).split())
        if isinstance(error, UnreadImageError):  # the message of a data loader's process begins with its traceback
            last = f'{error}'.strip().splitlines()[-1]
            sentence = last.removeprefix(f'{UnreadImageError.__module__}.{UnreadImageError.__qualname__}: ')
        if sentence is None:
            raise
        print(_told(sentence), file=sys.stderr)
        raise SystemExit(EXIT_CODE) from None


def _told(sentence: str) -> str:
    """Return a sentence that is safe and short enough for a terminal, whatever it quotes from a file."""
    return shortened(printable(without_passwords(sentence)))


def _mistake(error: Exception) -> str | None:
    """Return the sentence for an error that a wrong config or file causes, or None for any other error."""
    message = ' '.join(str(error.args[0] if error.args else error).split())
    if isinstance(error, UnicodeError) or (isinstance(error, OSError) and error.errno is not None):
        return ' '.join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and told(error) != message:
        return told(error)
    if isinstance(error, ValueError) or (isinstance(error, AssertionError) and message):
        return message  # OpenMMLab checks configs by assertions
    if isinstance(error, KeyError) and 'registry' in message:
        return message.partition('. Please')[0]
    if isinstance(error, TypeError) and ' argument' in message:
        return message
    calls = traceback.extract_tb(error.__traceback__)
    if any('mmengine' in Path(call.filename).parts and call.name == RESUMING for call in calls):
        return f'the checkpoint does not hold the state of a training: {_named(error)}'
    if any('mmengine' in Path(call.filename).parts and call.name.startswith(BUILDERS) for call in calls):
        return f'what the config describes cannot be built: {_named(error)}'
    return None


def _misfit(error: Exception) -> str | None:
    """Return the sentence for an error in another package, caused by parts of a config that do not fit together."""
    place = _origin(error).filename
    if 'site-packages' not in Path(place).parts or 'mmhybrid' in Path(place).parts:
        return None
    return f'what the config describes does not work together: {_named(error)}'


def _named(error: Exception) -> str:
    origin = _origin(error)
    lines = str(error.args[0] if error.args else error).strip().splitlines() or ['no reason given']
    reason = lines[0] if len(lines) == 1 else f'{lines[0]} ... {lines[-1]}'
    return f'{type(error).__name__}: {reason} ({origin.filename}, line {origin.lineno})'


def _origin(error: BaseException) -> traceback.FrameSummary:
    """Return the call in which an error arose, since a registry raises a second error of the same class."""
    while (inside := error.__cause__ or error.__context__) is not None:
        error = inside
    return traceback.extract_tb(error.__traceback__)[-1]
