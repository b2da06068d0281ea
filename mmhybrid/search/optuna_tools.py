"""Optuna's view of a search space."""

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.distributions import CategoricalDistribution

from mmhybrid.space import SearchSpace


def distributions(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    """Each gene as a categorical choice among its values."""
    return {name: CategoricalDistribution(choice.values) for name, choice in space.choices.items()}


@contextmanager
def quiet(level: int = optuna.logging.WARNING) -> Iterator[None]:
    """Without Optuna's announcements of studies and trials, and all else below a level; the search has its own."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
