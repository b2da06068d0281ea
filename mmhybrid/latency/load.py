"""The latency model of a search, from the files that ``tools/profile_latency.py`` wrote."""

import statistics
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmhybrid.counting.estimator import PartLatency
from mmhybrid.counting.operations import PartCost
from mmhybrid.counting.part_counter import InputSize, PartCounter
from mmhybrid.latency.analytic import MODEL_STD, AnalyticLatency
from mmhybrid.latency.table import LatencyTable, parts_of_space
from mmhybrid.models.parts import Part
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import read_json

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
        costs: Of the table's space.
    """

    def __init__(self, table: LatencyTable, model: AnalyticLatency, costs: PartCounter) -> None:
        self.table = table
        self.model = model
        parts = {part.key: part for m in table.measurements for part in costs.parts(Arch(m.arch))}
        by_kind: dict[str, list[Part]] = {}
        for part in parts.values():
            if part.key in table.entries:
                by_kind.setdefault(part.kind, []).append(part)
        outside = [table.entries[part.key].ms for part in by_kind.pop('network', [])]
        self._outside_ms = statistics.fmean(outside) if outside else 0.0
        self._scales = {kind: _scale(table, model, costs, known) for kind, known in by_kind.items()}
        self._scale_of_all = _scale(table, model, costs, [part for known in by_kind.values() for part in known])

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

    def warn_of_gaps(self, costs: PartCounter) -> None:
        """Warn of the parts of a space that the model answers for."""
        keys = parts_of_space(costs)
        filled = [key for key in keys if key not in self.table.entries]
        if filled:
            names = ', '.join(f'"{key}"' for key in filled[:LISTED]) + (', ...' if len(filled) > LISTED else '')
            count = f'{len(filled)} of {len(keys)} parts'
            warnings.warn(f'latency table: {count} come from the analytic model instead: {names}', stacklevel=2)


def _scale(table: LatencyTable, model: AnalyticLatency, costs: PartCounter, parts: Sequence[Part]) -> float | None:
    """What ``parts`` take in the table over what the model says; None where either is nothing."""
    measured = sum(table.entries[part.key].ms for part in parts)
    modelled = sum(model.part_latency(part, costs.cost_of(part)).ms for part in parts)
    return measured / modelled if measured and modelled else None


def load_latency(path: str | Path) -> LatencyTable | AnalyticLatency:
    """A latency table or an analytic model, whichever the file holds.

    Raises:
        ValueError: If there is no such file, or saying what is wrong with it.
    """
    kind = AnalyticLatency if 'rates' in read_json(path) else LatencyTable
    return kind.load(path)


def build_latency(
    path: str | Path,
    analytic: str | Path | None,
    space: SearchSpace,
    backbone: Mapping[str, Any],
    input_size: InputSize | None,
    num_classes: int | None,
) -> LatencyTable | FilledTable | AnalyticLatency:
    """What :class:`Estimator` takes as ``latency``; warns if it was measured on another machine, or has gaps filled.

    Args:
        path: Of a table, or of an analytic model, which serves every space.
        analytic: Path of an analytic model that answers for the parts which the table lacks; None for an error.
        space: Of the search.
        backbone: Config of the backbone.
        input_size: Side of the image where the archs do not say it.
        num_classes: Classes of the classifier, None for none.

    Raises:
        ValueError: If a file is wrong or of the other kind, the table is of another space or setting, or the two are
            for different devices, dtypes, threads or numbers of images at once.
    """
    latency = load_latency(path)
    latency.warn_if_elsewhere()
    if isinstance(latency, AnalyticLatency):
        if analytic is not None:
            raise bad_value('analytic', f'{analytic}', f'none, since {path} is an analytic model itself')
        return latency
    if analytic is None:
        latency.check_fits(space, backbone, input_size, num_classes)
        return latency
    latency.check_setting(space, backbone, input_size, num_classes)
    costs = PartCounter(space, backbone, input_size, num_classes)
    filled = FilledTable(latency, load_model_of(latency, f'{path}', analytic), costs)
    filled.warn_of_gaps(costs)
    return filled


def fill(table: LatencyTable, path: str, analytic: str | Path) -> FilledTable:
    """The table of ``path`` with the model of ``analytic`` for the parts it lacks; see :func:`build_latency`."""
    return FilledTable(table, load_model_of(table, path, analytic), table.part_counter())


def load_model_of(table: LatencyTable, path: str, analytic: str | Path) -> AnalyticLatency:
    """An analytic model to be used beside a table; warns if it was measured on another machine.

    Args:
        table: The table.
        path: Of the table.
        analytic: Path of the model.

    Raises:
        ValueError: If the file is wrong, or for another device, dtype, threads or number of images at once.
    """
    model = AnalyticLatency.load(analytic)
    if model.batch != table.device.batch:
        raise bad_value(f'{analytic}: batch', model.batch, f'that of {path}, {table.device.batch}')
    if model.device is not None:
        for name in ('device', 'dtype', 'threads'):
            there, here = getattr(table.device, name), getattr(model.device, name)
            if here != there:
                raise bad_value(f'{analytic}: device.{name}', here, f'that of {path}, {there!r}')
    model.warn_if_elsewhere()
    return model
