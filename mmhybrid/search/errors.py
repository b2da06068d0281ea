"""What ends a search early."""

from mmhybrid.utils.errors import CannotGoOnError


class SearchError(CannotGoOnError):
    """A search that cannot go on; the message says why and what to do."""


class StorageError(SearchError):
    """A storage that is damaged, in use, or belongs to another search; it is left as it was."""
