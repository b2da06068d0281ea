"""Optuna's view of a search space."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import optuna
from optuna.distributions import CategoricalDistribution

from mmhybrid.search.errors import StorageError
from mmhybrid.space import SearchSpace

T = TypeVar('T')


def distributions(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    """Each gene as a categorical choice among its values."""
    return {name: CategoricalDistribution(choice.values) for name, choice in space.choices.items()}


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's announcements of studies and trials; the search has its own."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def understood(location: str, action: Callable[..., T], *args: Any, **options: Any) -> T:
    """What a call of Optuna returns; anything it stumbles over in a storage that we can open is damage.

    Raises:
        StorageError: In a sentence with the location.
    """
    try:
        with quiet():
            return action(*args, **options)
    except OSError:
        raise
    except Exception as error:
        detail = (str(error) or type(error).__name__).splitlines()[0]
        raise StorageError(f'{location} cannot be read, it is damaged or not reachable: {detail}') from error
