"""Errors that a program ends on without a traceback, and errors in a line."""

from collections.abc import Iterable

# Characters of what a program says at its end.
LONGEST_MESSAGE = 2000


class CannotGoOnError(RuntimeError):
    """Work that cannot go on, through no error of the code; the message says why and what to do."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its class where it says nothing."""
    text = str(error.args[0] if error.args and isinstance(error.args[0], str) else error)
    return next(iter(text.strip().splitlines()), type(error).__name__)


def few(items: Iterable[str], count: int = 3) -> str:
    """The first of many items, and how many more there are."""
    items = list(items)
    return ', '.join(items[:count]) + (f' and {len(items) - count} more' if len(items) > count else '')


def printable(text: str) -> str:
    """The text without what a terminal would obey, which names in files may hold."""
    return ''.join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """The text, or its beginning and its end, since files may hold names of megabytes."""
    if len(text) <= longest:
        return text
    end = longest // 4
    return f'{text[: longest - end]} ... ({len(text) - longest} characters) ... {text[-end:]}'


def sentence(error: BaseException) -> str:
    """What an error says, as a terminal may show it."""
    return printable(shortened(str(error)))
