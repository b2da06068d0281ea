"""The gate that admits a network to a generation if it is new and keeps the constraints."""

import math
import random
from bisect import bisect_left
from collections.abc import Generator, Mapping, Sequence

from mmhybrid.search.constraints import Constraint, Estimate, Tally
from mmhybrid.search.samplers import Draw
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_float

# After this many failed draws for a place, every other draw is random, because parents that are too similar have no new
# children.
PATIENCE = 20
# After this many failed draws for a place, a walk towards the bounds proposes networks, because random draws meet the
# bounds too rarely.
PATIENCE_FOR_BOUNDS = 500
# After this many steps without progress, a walk starts again elsewhere.
STALLED = 200
# A step of a walk redraws this many genes on average.
GENES_A_STEP = 1.5


class Archs:
    """A set of architectures that is also a list in the order of the history."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._archs: list[Arch] = []
        self._set: set[Arch] = set()

    def add(self, place: int, arch: Arch) -> None:
        """Add the architecture of the candidate at the index ``place`` of the history."""
        at = bisect_left(self._places, place)
        self._places.insert(at, place)
        self._archs.insert(at, arch)
        self._set.add(arch)

    def __getitem__(self, index: int) -> Arch:
        return self._archs[index]

    def __len__(self) -> int:
        return len(self._archs)

    def __contains__(self, arch: object) -> bool:
        return arch in self._set

    @property
    def num_different(self) -> int:
        """Number of different architectures."""
        return len(self._set)


class Gate:
    """Admits new networks that keep the constraints, and gives up after a bounded number of draws.

    Args:
        constraints: Constraints that a network must keep.
        space: Search space of the networks.
        known: Networks that were proposed before; they keep the constraints too.
        estimate: Function that returns the costs of a network.
        rng: Source of all random numbers.
        max_tries: Largest number of draws for all places together.
    """

    def __init__(
        self,
        constraints: Sequence[Constraint],
        space: SearchSpace,
        known: Archs,
        estimate: Estimate,
        rng: random.Random,
        max_tries: int,
    ) -> None:
        self._constraints = constraints
        self._space = space
        self._known = known
        self._new: dict[Arch, None] = {}
        self._estimate = estimate
        self._rng = rng
        self._max_tries = max_tries
        self._rejected: dict[Arch, Mapping[str, float]] = {}
        self._total = Tally()

    def next_network(self, draw: Draw) -> tuple[Arch, Mapping[str, float], Tally] | None:
        """Return the next admitted network, its costs and the tally of its draws, or None if none was found."""
        latest = Tally()
        attempts = self._attempts(draw)
        arch = next(attempts)
        while self._total.tries + latest.tries < self._max_tries and not self._is_exhausted():
            if arch in self._new or arch in self._known:
                latest.count_known()
                excess = 0.0
            else:
                estimates = self._rejected.get(arch) or self._checked_estimate(arch)
                excess = latest.excess(arch, estimates, self._constraints)
                if not excess:
                    self._new[arch] = None
                    self._total.add(latest)
                    return arch, estimates, latest
                self._rejected[arch] = estimates
            arch = attempts.send(excess)
        self._total.add(latest)
        return None

    def _attempts(self, draw: Draw) -> Generator[Arch, float, None]:
        """Yield networks to try for one place; the caller sends back how far each violates the constraints.

        The first networks are the sampler's draws; then every other network is random. After many draws, a walk of
        small mutations starts from the network with the smallest violation, and no step of it increases the violation.
        A walk that makes no progress starts again, in turn from a known network, which keeps the constraints, and from
        a random one. A walk that has reached networks within the constraints goes on until it meets a new one.
        """
        nearest, least = None, math.inf
        for attempt in range(PATIENCE_FOR_BOUNDS):
            arch = draw() if attempt < PATIENCE or attempt % 2 else self._space.sample(self._rng)
            excess = yield arch
            if nearest is None or excess < least:
                nearest, least = arch, excess
        restarts = 0
        while True:
            assert nearest is not None
            stalled = 0
            while stalled < STALLED:
                step = self._space.mutate(nearest, self._rng, min(GENES_A_STEP / max(len(nearest), 1), 1))
                excess = yield step
                stalled = 0 if excess < least else stalled + 1
                if excess <= least:
                    nearest, least = step, excess
            restarts += 1
            allowed = range(len(self._known) + len(self._new))
            if restarts % 2 and allowed:
                nearest, least = self._allowed(self._rng.choice(allowed)), 0.0
            else:
                nearest = self._space.sample(self._rng)
                least = yield nearest

    def _allowed(self, place: int) -> Arch:
        """Return a network that keeps the constraints; known networks come before those that this gate admitted."""
        num_known = len(self._known)
        return self._known[place] if place < num_known else list(self._new)[place - num_known]

    def why_ended(self) -> str:
        """Return the reason why no further network is proposed."""
        if self._is_exhausted():
            reason = f'all {self._space.size()} networks of its space have been looked at'
        else:
            reason = f'no new network within {self._max_tries} tries (max_tries for each candidate)'
        return reason + self._total.describe(self._constraints)

    def _checked_estimate(self, arch: Arch) -> dict[str, float]:
        return {name: check_float(f'estimate {name}', value, -math.inf) for name, value in self._estimate(arch).items()}

    def _is_exhausted(self) -> bool:
        return self._known.num_different + len(self._new) + len(self._rejected) >= self._space.size()
