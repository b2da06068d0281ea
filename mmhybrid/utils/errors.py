"""Errors that a program ends on without a traceback."""


class CannotGoOnError(RuntimeError):
    """Work that cannot go on, through no error of the code; the message says why and what to do."""
