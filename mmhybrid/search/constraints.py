"""Constraints on the costs of networks, and counts of the networks that they reject."""

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
    """A constraint on one estimate of a network.

    Args:
        name: Name of the estimate: ``params_m``, ``macs_m``, ``latency_ms``, ``latency_upper_ms``, ...
        min: Smallest allowed value in the estimate's unit; None for no lower bound.
        max: Largest allowed value in the estimate's unit; None for no upper bound.

    Raises:
        ValueError: If an argument is wrong. The message names the field, its value and what is allowed.
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
        """Return each violated bound with the ratio of the excess to the bound.

        The excess itself takes the place of the ratio if the bound is 0.

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
    """The number of draws, and why they were rejected; a network that violates several bounds counts for each."""

    tries: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    nearest: tuple[float, Arch, Mapping[str, float]] | None = None

    def count_known(self) -> None:
        """Count a draw that gave a known network."""
        self.tries += 1
        self.rejected[KNOWN] += 1

    def excess(self, arch: Arch, estimates: Mapping[str, float], constraints: Sequence[Constraint]) -> float:
        """Count a network and return the sum of its relative violations, which is 0 if it keeps all constraints."""
        self.tries += 1
        violated: dict[str, float] = {}
        for constraint in constraints:
            violated.update(constraint.violations(estimates))
        self.rejected.update(violated.keys())
        # The sum must stay above 0 even if each violation is too small for a float.
        total = max(sum(violated.values()), sys.float_info.min) if violated else 0.0
        if violated and (self.nearest is None or total < self.nearest[0]):
            self.nearest = (total, arch, estimates)
        return total

    def add(self, other: 'Tally') -> None:
        """Add the counts of another tally."""
        self.tries += other.tries
        self.rejected.update(other.rejected)
        if other.nearest is not None and (self.nearest is None or other.nearest[0] < self.nearest[0]):
            self.nearest = other.nearest

    def describe(self, constraints: Sequence[Constraint]) -> str:
        """Return a text with the share of draws that each bound rejects, and with the nearest rejected network.

        The text is empty if nothing was rejected.
        """
        text = ''
        if self.rejected:
            shares = ', '.join(f'{reason}: {count / self.tries:.1%}' for reason, count in self.rejected.most_common())
            text += f'; of {self.tries} tries were rejected for {shares}'
        if self.nearest is not None:
            _, arch, estimates = self.nearest
            costs = ', '.join(f'{name} = {estimates[name]:g}' for name in dict.fromkeys(c.name for c in constraints))
            text += f'; the nearest rejected network has {costs}: {arch.to_json()}'
        return text
