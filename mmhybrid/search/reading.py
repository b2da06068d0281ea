"""Readers of the studies in a storage, for reports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.connecting import FIRST_SECONDS, checked_location, open_to_read, studies_in
from mmhybrid.search.errors import StorageError
from mmhybrid.search.reconnecting import Reconnecting
from mmhybrid.search.records import CANDIDATE
from mmhybrid.search.settings import SearchSettings
from mmhybrid.search.storage import SETTINGS, STUDY_NAME
from mmhybrid.search.study import Study


def read_study(
    location: str | Path, build: Callable[[dict[str, Any]], SearchSettings], study_name: str = STUDY_NAME
) -> tuple[SearchSettings, list[Candidate]]:
    """Read the settings and candidates of a study, while a search may go on writing to it.

    Args:
        location: Location of the storage, see :class:`StudyStorage`.
        build: Function that makes settings from the dict of :meth:`SearchSettings.to_config`.
        study_name: Name of the study, see :class:`StudyStorage`.

    Returns:
        The settings, and the finished candidates in the order of the search.

    Raises:
        StorageError: If there is no such study, or it is damaged.
    """
    location = checked_location(location)
    call = Reconnecting(location)
    storage = open_to_read(location, call)
    found = studies_in(storage, call)
    searches = sorted(name for name, (_, attributes) in found.items() if SETTINGS in attributes)
    if study_name not in searches:
        others = f', but {", ".join(map(repr, searches))}' if searches else ''
        raise StorageError(f'{location} holds no search {study_name!r}{others}')
    study_id, stored = found[study_name]
    settings = build(stored[SETTINGS])
    study = Study(storage, study_id, location, settings, call, FIRST_SECONDS, storage.remove_session)
    study.look()
    places = {stage.name: place for place, stage in enumerate(settings.stages)}
    candidates = study.finished.values()
    return settings, sorted(candidates, key=lambda c: (places[c.stage], c.generation, c.index))


def list_studies(location: str | Path) -> dict[str, int]:
    """Return the number of finished candidates of each search at a location, by the name of its study.

    Raises:
        StorageError: If there is no such storage, or it is damaged.
    """
    location = checked_location(location)
    call = Reconnecting(location)
    storage = open_to_read(location, call)
    counts = {}
    for name, (study_id, attributes) in studies_in(storage, call).items():
        if SETTINGS in attributes:
            trials = call(storage.get_all_trials, study_id, deepcopy=False, seconds=FIRST_SECONDS)
            counts[name] = sum(CANDIDATE in trial.user_attrs for trial in trials)
    return counts
