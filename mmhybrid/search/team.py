"""The ranks that search together, reduced to the one collective operation that a search needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from mmhybrid.search.errors import SearchError

T = TypeVar('T')


def _alone(value: Any) -> list[Any]:
    return [value]


@dataclass(frozen=True)
class Team:
    """Ranks that all run the same search.

    Args:
        rank: Rank of this process; rank 0 proposes and writes.
        world_size: Number of ranks.
        gather: Function that all ranks call with one object each, and that returns all objects in the order of the
            ranks.
    """

    rank: int = 0
    world_size: int = 1
    gather: Callable[[Any], list[Any]] = _alone

    def share(self, action: Callable[[], T]) -> list[T]:
        """Run ``action`` on all ranks and return all results on each.

        An exception on one rank ends all ranks, so that none waits for another that is gone.

        Raises:
            SearchError: If the action failed on another rank; the failing rank raises its own exception.
        """
        try:
            mine: tuple[Any, str] = (action(), '')
        except Exception as error:
            self.gather((None, f'{type(error).__name__}: {error}'))
            raise
        everyone = self.gather(mine)
        for rank, (_, problem) in enumerate(everyone):
            if problem:
                raise SearchError(f'rank {rank} ended with {problem}')
        return [value for value, _ in everyone]

    def lead(self, action: Callable[[], T]) -> T:
        """Run ``action`` on rank 0 alone and return its result on all ranks; raises as :meth:`share` does."""
        return self.share(action if self.rank == 0 else _nothing)[0]  # type: ignore[return-value]


def _nothing() -> None:
    return None
