"""What an architecture costs, from its genes: nothing is trained, run or copied."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from mmhybrid.counting.operations import PartCost
from mmhybrid.counting.workload import Workload
from mmhybrid.models.parts import Part
from mmhybrid.space import Arch
from mmhybrid.space.arch import Value

REMEMBERED_ARCHS = 100_000
# one-sided 95 % of a normal distribution
UPPER_STDS = 1.645


@dataclass(frozen=True)
class Cost:
    """What a network costs for one image.

    Args:
        params_m: Parameters in millions.
        macs_m: Multiply-accumulates in millions.
        latency_ms: Estimated latency of a batch in milliseconds; None without a latency model.
        latency_upper_ms: What it stays below with 95 % probability when measured, as far as the latency model tells.
    """

    params_m: float
    macs_m: float
    latency_ms: float | None = None
    latency_upper_ms: float | None = None


class PartLatency(NamedTuple):
    """What a part adds to the latency of a network.

    Args:
        ms: Milliseconds.
        std: Standard deviation of the error that is this part's own.
        shared_std: Standard deviation of the error that it has in common with all other parts.
    """

    ms: float
    std: float
    shared_std: float = 0.0


class LatencyModel(Protocol):
    """Latencies of parts; a network's is their sum."""

    def part_latency(self, part: Part, cost: PartCost) -> PartLatency:
        """Latency of one part; ValueError naming a part that is not known."""

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """The bound of a network, from sums over its parts: of latencies, squared own and common deviations."""


class Estimator:
    """Arch -> :class:`Cost`; pure, and remembered.

    Args:
        workload: The networks.
        latency: A latency table or an analytic model; None for no latency.
    """

    def __init__(self, workload: Workload, latency: LatencyModel | None = None) -> None:
        self.workload = workload
        self._latency = latency
        self._known: dict[str, tuple[int, int, float, float, float]] = {}
        self._estimate: Callable[[Arch], Cost] = lru_cache(maxsize=REMEMBERED_ARCHS)(self._sum)

    def __call__(self, arch: Mapping[str, Value]) -> Cost:
        """What ``arch`` costs.

        Raises:
            ValueError: If it is not in the space, or the latency model does not know one of its parts.
        """
        return self._estimate(arch if isinstance(arch, Arch) else Arch(arch))

    def estimates(self, arch: Mapping[str, Value]) -> dict[str, float]:
        """The same by name, as constraints and objectives have it, without latencies if there is no model of them."""
        return {name: value for name, value in vars(self(arch)).items() if value is not None}

    def of_network(self, network: Any) -> Cost:
        """What another network of the family costs, in the space or not.

        Args:
            network: What the family's backbone takes as ``arch``, decoded; its images are those of the largest network
                of the space.

        Raises:
            ValueError: If the latency model does not know one of its parts.
        """
        parts = self.workload.parts_of(network, self.workload.input_shape(self.workload.space.largest()))
        return self._add(parts, lambda: parts)

    def _sum(self, arch: Arch) -> Cost:
        return self._add(self.workload.list_parts(arch), lambda: self.workload.parts(arch))

    def _add(self, parts: Sequence[Part], count: Callable[[], Sequence[Part]]) -> Cost:
        """The sum of the parts, which ``count`` gives counted."""
        params, macs, milliseconds, variance, shared_std = 0, 0, 0.0, 0.0, 0.0
        known = self._known
        for part in parts:
            figures, copies = known.get(part.key), part.copies
            if figures is None:
                self._look_up(count())
                figures = known[part.key]
            part_params, part_macs, ms, std, part_shared_std = figures
            params += copies * part_params
            macs += copies * part_macs
            milliseconds += copies * ms
            variance += (copies * std) ** 2
            shared_std += copies * part_shared_std
        if self._latency is None:
            return Cost(params / 1e6, macs / 1e6)
        return Cost(params / 1e6, macs / 1e6, milliseconds, self._latency.upper(milliseconds, variance, shared_std))

    def _look_up(self, parts: Sequence[Part]) -> None:
        """Get to know the parts of a network, which are counted."""
        for part in parts:
            if part.key not in self._known:
                cost = self.workload.cost_of(part)
                latency = PartLatency(0.0, 0.0) if self._latency is None else self._latency.part_latency(part, cost)
                self._known[part.key] = cost.params, cost.macs, *latency
