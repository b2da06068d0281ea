"""Errors that end a program without a traceback, and errors as one line of text."""

from collections.abc import Iterable

# A program's last message has at most this many characters.
LONGEST_MESSAGE = 2000


class CannotGoOnError(RuntimeError):
    """Raised when work cannot go on although the code is right; the message says why and what to do."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    text = str(error.args[0] if error.args and isinstance(error.args[0], str) else error)
    return next(iter(text.strip().splitlines()), type(error).__name__)


def few(items: Iterable[str], count: int = 3) -> str:
    """Return the first of many items as text, and the number of the others."""
    items = list(items)
    return ', '.join(items[:count]) + (f' and {len(items) - count} more' if len(items) > count else '')


def printable(text: str) -> str:
    """Return the text with signs escaped that a terminal would obey; names in files may hold them."""
    return ''.join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return the text, or its beginning and its end if it is too long, because files may hold names of megabytes."""
    if len(text) <= longest:
        return text
    end = longest // 4
    return f'{text[: longest - end]} ... ({len(text) - longest} characters) ... {text[-end:]}'


def sentence(error: BaseException) -> str:
    """Return an error's message as a terminal may show it."""
    return printable(shortened(str(error)))
