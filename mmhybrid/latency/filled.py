"""A latency table with an analytic model for the parts that the table lacks."""

import statistics
import warnings
from collections.abc import Sequence

from mmhybrid.counting.estimator import PartLatency
from mmhybrid.counting.operations import PartCost
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import MODEL_STD, AnalyticLatency
from mmhybrid.latency.fitted import FittedLatency
from mmhybrid.latency.table import LatencyTable, parts_of_space
from mmhybrid.models.parts import Part
from mmhybrid.space import Arch

OperationsModel = AnalyticLatency | FittedLatency
# Number of parts that a warning lists by name.
LISTED = 5


class FilledTable:
    """A latency table with an analytic model that answers for the parts which the table lacks.

    The model is scaled to the table, kind by kind: its latencies are multiplied by the ratio of the table's latencies
    to the model's over the entries of that kind. Kinds that the table lacks use the ratio over all entries. The model
    knows nothing of the time that a network takes outside its parts, for which the mean over the table's resolutions is
    used.

    Args:
        table: Measured latencies.
        model: The model that fills the gaps.
        workload: The networks of the table's space.
    """

    def __init__(self, table: LatencyTable, model: OperationsModel, workload: Workload) -> None:
        self.table = table
        self.model = model
        self.workload = workload
        parts = {part.key: part for m in table.measurements for part in workload.parts(Arch(m.arch))}
        by_kind: dict[str, list[Part]] = {}
        for part in parts.values():
            if part.key in table.entries:
                by_kind.setdefault(part.kind, []).append(part)
        outside = [table.entries[part.key].ms for part in by_kind.pop('network', [])]
        self._outside_ms = statistics.fmean(outside) if outside else 0.0
        self._scales = {kind: _scale(table, model, workload, known) for kind, known in by_kind.items()}
        self._scale_of_all = _scale(table, model, workload, [part for known in by_kind.values() for part in known])

    def part_latency(self, part: Part, cost: PartCost) -> PartLatency:
        """Return the latency of a part; if the part was not measured, the model's error is included."""
        if part.key in self.table.entries:
            return self.table.part_latency(part, cost)
        if part.kind == 'network':
            return PartLatency(self._outside_ms, 0.0, MODEL_STD * self._outside_ms)
        scale = self._scales.get(part.kind) or self._scale_of_all or 1.0
        return PartLatency(*(scale * value for value in self.model.part_latency(part, cost)))

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """Return the table's upper bound; ``shared_std`` is the sum of the errors of filled parts."""
        return self.table.upper(milliseconds, variance, shared_std)

    def warn_of_gaps(self) -> None:
        """Warn of the parts of the space that the table lacks."""
        keys = parts_of_space(self.workload)
        filled = [key for key in keys if key not in self.table.entries]
        if filled:
            names = ', '.join(f'"{key}"' for key in filled[:LISTED]) + (', ...' if len(filled) > LISTED else '')
            count = f'{len(filled)} of {len(keys)} parts'
            warnings.warn(f'latency table: {count} come from the analytic model instead: {names}', stacklevel=2)


def _scale(table: LatencyTable, model: OperationsModel, workload: Workload, parts: Sequence[Part]) -> float | None:
    """Return the ratio of the table's latency of ``parts`` to the model's; None if either is zero."""
    measured = sum(table.entries[part.key].ms for part in parts)
    modelled = sum(model.part_latency(part, workload.cost_of(part)).ms for part in parts)
    return measured / modelled if measured and modelled else None
