"""Estimates of the cost of an architecture from its genes, without training, running or copying anything."""

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
# A normal distribution lies below its mean plus this many standard deviations with 95 % probability.
UPPER_STDS = 1.645


@dataclass(frozen=True)
class Cost:
    """The cost of a network for one image.

    Args:
        params_m: Parameters in millions.
        macs_m: Multiply-accumulates in millions.
        latency_ms: Estimated latency of a batch in milliseconds; None without a latency model.
        latency_upper_ms: 95 % upper bound of the measured latency in milliseconds, according to the latency model; None
            without one.
    """

    params_m: float
    macs_m: float
    latency_ms: float | None = None
    latency_upper_ms: float | None = None


class PartLatency(NamedTuple):
    """The share of one part in the latency of a network.

    Args:
        ms: Latency in milliseconds.
        std: Standard deviation of the error of this part alone, in milliseconds.
        shared_std: Standard deviation of the error that it shares with all other parts, in milliseconds.
    """

    ms: float
    std: float
    shared_std: float = 0.0


class LatencyModel(Protocol):
    """A model of the latencies of parts; the latency of a network is their sum."""

    def part_latency(self, part: Part, cost: PartCost) -> PartLatency:
        """Return the latency of one part; raises a ValueError that names the part if it is unknown."""

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """Return the 95 % upper bound of a network's latency in milliseconds.

        Args:
            milliseconds: Sum of the latencies of its parts.
            variance: Sum of the squared standard deviations of the parts' own errors.
            shared_std: Sum of the standard deviations of the parts' shared errors.
        """


class Estimator:
    """The function from an architecture to its :class:`Cost`; it is pure and caches its results.

    Args:
        workload: Networks whose costs are estimated.
        latency: Latency table or analytic model; None for no latency.
    """

    def __init__(self, workload: Workload, latency: LatencyModel | None = None) -> None:
        self.workload = workload
        self._latency = latency
        self._known: dict[str, tuple[int, int, float, float, float]] = {}
        self._estimate: Callable[[Arch], Cost] = lru_cache(maxsize=REMEMBERED_ARCHS)(self._sum)

    def __call__(self, arch: Mapping[str, Value]) -> Cost:
        """Return the cost of ``arch``.

        Raises:
            ValueError: If ``arch`` is not in the space, or the latency model does not know one of its parts.
        """
        return self._estimate(arch if isinstance(arch, Arch) else Arch(arch))

    def estimates(self, arch: Mapping[str, Value]) -> dict[str, float]:
        """Return the cost of ``arch`` by name, as constraints and objectives need it.

        Without a latency model, there are no latencies.
        """
        return {name: value for name, value in vars(self(arch)).items() if value is not None}

    def of_network(self, network: Any) -> Cost:
        """Return the cost of another network of the family, which may lie outside the space.

        Args:
            network: Decoded ``arch`` of the family's backbone. Its images, neck and heads are those of the largest
                network of the space.

        Raises:
            ValueError: If the latency model does not know one of its parts.
        """
        space = self.workload.space
        largest = space.largest()
        parts = self.workload.parts_of(network, self.workload.input_shape(largest), space.settings(largest))
        return self._add(parts, lambda: parts)

    def _sum(self, arch: Arch) -> Cost:
        return self._add(self.workload.list_parts(arch), lambda: self.workload.parts(arch))

    def _add(self, parts: Sequence[Part], count: Callable[[], Sequence[Part]]) -> Cost:
        """Return the sum over the parts; ``count`` returns the same parts after counting them."""
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
        """Store the costs and latencies of the counted parts of a network."""
        for part in parts:
            if part.key not in self._known:
                cost = self.workload.cost_of(part)
                latency = PartLatency(0.0, 0.0) if self._latency is None else self._latency.part_latency(part, cost)
                self._known[part.key] = cost.params, cost.macs, *latency
