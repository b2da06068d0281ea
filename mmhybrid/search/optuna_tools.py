"""Tools for the use of Optuna with a search space."""

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.distributions import CategoricalDistribution

from mmhybrid.space import SearchSpace


def distributions(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    """Return each gene's values as a categorical distribution of Optuna."""
    return {name: CategoricalDistribution(choice.values) for name, choice in space.choices.items()}


@contextmanager
def quiet(level: int = optuna.logging.WARNING) -> Iterator[None]:
    """Silence Optuna's messages below a level within the block, because a search reports its trials itself."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
