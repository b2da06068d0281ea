"""What lets a network into a generation: it is new and keeps the constraints."""

import math
import random
from bisect import bisect_left
from collections.abc import Generator, Mapping, Sequence

from mmhybrid.search.constraints import Constraint, Estimate, Tally
from mmhybrid.search.samplers import Draw
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_float

# After so many failed draws for a place every other one is random: parents too much alike have no new children.
PATIENCE = 20
# After so many, draws are walked towards the bounds: random ones meet them too rarely.
PATIENCE_FOR_BOUNDS = 500
# Steps without progress after which a walk begins anew elsewhere.
STALLED = 200
# Genes that a step of a walk redraws, on average.
GENES_A_STEP = 1.5


class Archs:
    """Archs in the order of the history, and whether one is among them."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._archs: list[Arch] = []
        self._set: set[Arch] = set()

    def add(self, place: int, arch: Arch) -> None:
        """Add the arch of the candidate at a place of the history."""
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
        """How many there are, equal ones counted once."""
        return len(self._set)


class Gate:
    """Lets new and allowed networks through, and gives up after a bounded number of tries.

    Args:
        constraints: What a network must keep.
        space: Where the networks are.
        known: Those that were proposed before; they keep the constraints too.
        estimate: Costs of a network.
        rng: What everything random is drawn from.
        max_tries: Draws for all places together.
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
        """The next network that is new and keeps the constraints, its costs, and what was tried; None for none."""
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
        """Networks to try for a place, each answered with how far it is outside the bounds.

        At first the sampler's draws, then also random ones. After many of them a walk of small mutations, none of
        which leads farther outside, starts from the nearest, and later ones in turn from a known network, which
        keeps the bounds, and from a random one. Inside the bounds it walks on until it meets a new network.
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
        """A network that keeps the bounds: the known ones come first, then those that were found here."""
        num_known = len(self._known)
        return self._known[place] if place < num_known else list(self._new)[place - num_known]

    def why_ended(self) -> str:
        """Say why no more is proposed."""
        if self._is_exhausted():
            reason = f'all {self._space.size()} networks of its space have been looked at'
        else:
            reason = f'no new network within {self._max_tries} tries (max_tries for each candidate)'
        return reason + self._total.describe(self._constraints)

    def _checked_estimate(self, arch: Arch) -> dict[str, float]:
        return {name: check_float(f'estimate {name}', value, -math.inf) for name, value in self._estimate(arch).items()}

    def _is_exhausted(self) -> bool:
        return self._known.num_different + len(self._new) + len(self._rejected) >= self._space.size()
