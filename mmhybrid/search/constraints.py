"""What a network may cost, and a count of what was turned away."""

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value, check_float

KNOWN = 'known already'

Estimate = Callable[[Arch], Mapping[str, float]]


@dataclass(frozen=True)
class Constraint:
    """Bounds of an estimate.

    Args:
        name: Of the estimate: ``params_m``, ``macs_m``, ``latency_ms``, ``latency_upper_ms``, ...
        min: Least value, None for none.
        max: Greatest value, None for none.

    Raises:
        ValueError: Naming the field, the value and what is allowed.
    """

    name: str
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise bad_value('constraint', self.name, 'the name of an estimate')
        if self.min is None and self.max is None:
            raise bad_value(f'constraint {self.name}', None, 'min, max or both')
        low = -math.inf if self.min is None else check_float(f'constraint {self.name}.min', self.min, -math.inf)
        if self.max is not None:
            check_float(f'constraint {self.name}.max', self.max, low)

    def violations(self, estimates: Mapping[str, float]) -> dict[str, float]:
        """Each bound that is not kept, and by how much: of the bound, or in its own unit where that is 0.

        Raises:
            ValueError: If there is no such estimate.
        """
        if self.name not in estimates:
            raise bad_value('constraint', self.name, f'one of the estimates {sorted(estimates)}')
        value = estimates[self.name]
        violated: dict[str, float] = {}
        if self.min is not None and value < self.min:
            violated[f'{self.name} >= {self.min:g}'] = _relative(self.min - value, self.min)
        if self.max is not None and value > self.max:
            violated[f'{self.name} <= {self.max:g}'] = _relative(value - self.max, self.max)
        return violated


def _relative(excess: float, bound: float) -> float:
    return excess / abs(bound) if bound else excess


@dataclass
class Tally:
    """What was tried, and why it was turned away; a network outside several bounds counts for each of them."""

    tries: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    nearest: tuple[float, Arch, Mapping[str, float]] | None = None

    def count_known(self) -> None:
        """A draw that gave a network which needs no second look."""
        self.tries += 1
        self.rejected[KNOWN] += 1

    def excess(self, arch: Arch, estimates: Mapping[str, float], constraints: Sequence[Constraint]) -> float:
        """How far the network is outside the bounds, 0 if it keeps them all: the sum of all relative violations.

        The network is counted either way.
        """
        self.tries += 1
        violated: dict[str, float] = {}
        for constraint in constraints:
            violated.update(constraint.violations(estimates))
        self.rejected.update(violated.keys())
        # a violation too small for a float is one all the same
        total = max(sum(violated.values()), sys.float_info.min) if violated else 0.0
        if violated and (self.nearest is None or total < self.nearest[0]):
            self.nearest = (total, arch, estimates)
        return total

    def add(self, other: 'Tally') -> None:
        """Count what another tally counted."""
        self.tries += other.tries
        self.rejected.update(other.rejected)
        if other.nearest is not None and (self.nearest is None or other.nearest[0] < self.nearest[0]):
            self.nearest = other.nearest

    def describe(self, constraints: Sequence[Constraint]) -> str:
        """Say what share each bound rejects, and which network came nearest; empty if nothing was tried."""
        text = ''
        if self.rejected:
            shares = ', '.join(f'{reason}: {count / self.tries:.1%}' for reason, count in self.rejected.most_common())
            text += f'; of {self.tries} tries were rejected for {shares}'
        if self.nearest is not None:
            _, arch, estimates = self.nearest
            costs = ', '.join(f'{name} = {estimates[name]:g}' for name in dict.fromkeys(c.name for c in constraints))
            text += f'; the nearest rejected network has {costs}: {arch.to_json()}'
        return text
