"""Errors that end a search early."""

from mmhybrid.utils.errors import CannotGoOnError


class SearchError(CannotGoOnError):
    """Raised when a search cannot go on; the message says why and what to do."""


class StorageError(SearchError):
    """Raised when a storage is damaged, in use, not reachable, or belongs to another search; it was left as it was."""


def damaged(location: str, what: str) -> StorageError:
    """Return the error for a storage that is not as it was written."""
    return StorageError(f'{location} is damaged: {what}; it was left untouched, restore it or start a new search')
