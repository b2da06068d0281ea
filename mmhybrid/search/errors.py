"""What ends a search early."""

from mmhybrid.utils.errors import CannotGoOnError


class SearchError(CannotGoOnError):
    """A search that cannot go on; the message says why and what to do."""


class StorageError(SearchError):
    """A storage that is damaged, in use, not reachable, or belongs to another search; it is left as it was."""


def damaged(location: str, what: str) -> StorageError:
    """What to raise for a storage that is not as it was written."""
    return StorageError(f'{location} is damaged: {what}; it was left untouched, restore it or start a new search')
