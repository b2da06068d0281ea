"""The evaluation of one candidate, which is timed, and repeated if it raises an error."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.pareto import Objective
from mmhybrid.space import Arch
from mmhybrid.utils.errors import CannotGoOnError, first_line

Evaluate = Callable[[Arch], Mapping[str, float]]

_logger = logging.getLogger(__name__)


def evaluated(proposal: Candidate, evaluate: Evaluate, objectives: Sequence[Objective], tries: int) -> Candidate:
    """Return the proposal with its metrics, or with the error that its last evaluation raised.

    Args:
        proposal: The candidate.
        evaluate: Function that returns the scores of an architecture.
        objectives: Objectives of the search.
        tries: Number of evaluations before the candidate is recorded as failed.

    Raises:
        CannotGoOnError: If the evaluation raises this error.
    """
    began = time.monotonic()
    candidate = _tried(proposal, evaluate, objectives, tries)
    return replace(candidate, seconds=time.monotonic() - began)


def _tried(proposal: Candidate, evaluate: Evaluate, objectives: Sequence[Objective], tries: int) -> Candidate:
    for left in reversed(range(tries)):
        try:
            metrics = evaluate(proposal.arch)
        except CannotGoOnError:
            raise
        except Exception as error:
            is_first = left == tries - 1
            _logger.warning('the evaluation of candidate %s failed', proposal.key, exc_info=is_first)
            if not left:
                cause = error.__cause__ or error
                return proposal.failed(f'{type(cause).__name__}: {first_line(cause)}', objectives)
        else:
            return proposal.evaluated(metrics)
    raise AssertionError
