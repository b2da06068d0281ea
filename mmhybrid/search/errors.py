"""What ends a search early."""


class SearchError(RuntimeError):
    """A search that cannot go on; the message says why and what to do."""


class StorageError(SearchError):
    """A storage that is damaged, in use, or belongs to another search; it is left as it was."""
