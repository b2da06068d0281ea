"""Reading the results of a search, whether it is running or not."""

from pathlib import Path

from mmhybrid.search import SearchResult, read_study
from mmhybrid.search.config import settings_from_data
from mmhybrid.search.storage import FILE_NAME, STUDY_NAME


def read_search(work_dir: str | Path, storage: str | Path | None = None, study_name: str = STUDY_NAME) -> SearchResult:
    """Return the results of a search so far, from its storage, which is only read.

    Args:
        work_dir: Work directory of the search.
        storage: A file or an SQLAlchemy URL; None for the file in ``work_dir``.
        study_name: Name of the search in a storage that holds several.

    Raises:
        SearchError: If there is no search, or its storage is damaged.
        ValueError: If the work directory does not exist.
    """
    folder = Path(work_dir)
    if not folder.is_dir():
        raise ValueError(f'work directory {folder} does not exist')
    settings, history = read_study(storage or folder / FILE_NAME, settings_from_data, study_name)
    return SearchResult(settings, tuple(history))
