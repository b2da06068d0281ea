"""A latency table whose gaps an analytic model fills."""

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
# Names of parts that a warning lists.
LISTED = 5


class FilledTable:
    """A latency table, and an analytic model that answers for the parts it lacks.

    The model is put on the table's scale: its latencies of a kind of part are multiplied by what the table's entries of
    that kind take over what the model says of them; those of a kind that the table lacks, by the same of all entries.
    What a network takes outside its parts, of which the model knows nothing, is the mean over the table's resolutions.

    Args:
        table: Measured latencies.
        model: What fills the gaps.
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
        """Latency of a part; of one that was not measured, with what the model is off by."""
        if part.key in self.table.entries:
            return self.table.part_latency(part, cost)
        if part.kind == 'network':
            return PartLatency(self._outside_ms, 0.0, MODEL_STD * self._outside_ms)
        scale = self._scales.get(part.kind) or self._scale_of_all or 1.0
        return PartLatency(*(scale * value for value in self.model.part_latency(part, cost)))

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """The table's bound; the errors of filled parts add up in ``shared_std``."""
        return self.table.upper(milliseconds, variance, shared_std)

    def warn_of_gaps(self) -> None:
        """Warn of the parts of the space that the model answers for."""
        keys = parts_of_space(self.workload)
        filled = [key for key in keys if key not in self.table.entries]
        if filled:
            names = ', '.join(f'"{key}"' for key in filled[:LISTED]) + (', ...' if len(filled) > LISTED else '')
            count = f'{len(filled)} of {len(keys)} parts'
            warnings.warn(f'latency table: {count} come from the analytic model instead: {names}', stacklevel=2)


def _scale(table: LatencyTable, model: OperationsModel, workload: Workload, parts: Sequence[Part]) -> float | None:
    """What ``parts`` take in the table over what the model says; None where either is nothing."""
    measured = sum(table.entries[part.key].ms for part in parts)
    modelled = sum(model.part_latency(part, workload.cost_of(part)).ms for part in parts)
    return measured / modelled if measured and modelled else None
