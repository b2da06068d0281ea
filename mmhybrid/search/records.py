"""The conversion of a candidate to a trial of Optuna, and back."""

import json
import math
import zlib
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.errors import damaged
from mmhybrid.search.settings import SearchSettings
from mmhybrid.space import Arch
from mmhybrid.utils.checks import LONGEST_NAME

CANDIDATE = 'candidate'
CHECKSUM = 'checksum'
MOST_NAMES = 1000


def outcome(candidate: Candidate, settings: SearchSettings) -> tuple[TrialState, list[float] | None]:
    """Return the state and the values of the trial of an evaluated candidate."""
    if candidate.has_failed(settings.objectives):
        return TrialState.FAIL, None
    return TrialState.COMPLETE, [candidate.numbers[objective.name] for objective in settings.objectives]


def read_trial(trial: FrozenTrial, location: str, settings: SearchSettings) -> Candidate:
    """Return the candidate that a trial with a record holds.

    Raises:
        StorageError: If the trial is not as it was written.
    """
    record = trial.user_attrs[CANDIDATE]
    try:
        # The candidate is checked as it was written: a space that is built again may have 2.0 where the search had 2,
        # which is equal but gives another text and checksum.
        fields = {name: value for name, value in record.items() if name != CHECKSUM}
        written = Candidate(arch=Arch(trial.params), **fields)
        _check_types(written)
        if written.stage not in [stage.name for stage in settings.stages]:
            raise ValueError(written.stage)
        candidate = replace(written, arch=settings.space.canonical(trial.params))
        is_sound = record[CHECKSUM] == record_of(written)[CHECKSUM] and len(candidate.arch) == len(trial.params)
        if trial.state.is_finished():
            # Another process that received no heartbeat may have ended the trial at the moment in which it was
            # recorded.
            taken_over = (TrialState.FAIL, None)
            is_sound = is_sound and (trial.state, trial.values) in (outcome(written, settings), taken_over)
    except (TypeError, ValueError, AttributeError, KeyError):
        is_sound = False
    if not is_sound:
        raise damaged(location, f'trial {trial.number} is not as it was written')
    return candidate


def _check_types(candidate: Candidate) -> None:
    """Raise TypeError for a field of a wrong type, because anybody can write a record with a correct checksum."""
    counts = (candidate.generation, candidate.index, candidate.tries)
    numbers = (*candidate.numbers.values(), *candidate.rejected.values())
    names = (*candidate.numbers, *candidate.rejected)
    if (
        not all(type(count) is int for count in counts)
        or not all(type(number) in (int, float) for number in numbers)
        or not all(isinstance(name, str) and name.isprintable() for name in (candidate.stage, *names))
        or any(len(name) > LONGEST_NAME for name in names)
        or len(names) > MOST_NAMES
        or type(candidate.seconds) not in (int, float)
        or not 0 <= candidate.seconds < math.inf
        or not isinstance(candidate.failure, str)
    ):
        raise TypeError(candidate)


def record_of(candidate: Candidate) -> dict[str, Any]:
    """Return the record of a candidate in its trial, with a checksum over the record and the genes.

    The genes themselves are the parameters of the trial.
    """
    record: dict[str, Any] = {
        'stage': candidate.stage,
        'generation': candidate.generation,
        'index': candidate.index,
        'estimates': dict(candidate.estimates),
        'metrics': dict(candidate.metrics or {}),
        'tries': candidate.tries,
        'rejected': dict(candidate.rejected),
    }
    if candidate.seconds:
        record['seconds'] = candidate.seconds
    if candidate.failure:
        record['failure'] = candidate.failure
    text = json.dumps([record, dict(candidate.arch)], sort_keys=True)
    return {**record, CHECKSUM: zlib.crc32(text.encode())}
