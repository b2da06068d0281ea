"""Searches whose networks are measured: the latency table of a space, made once for all seeds, and the judge."""

import copy
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean, geometric_mean
from typing import Any

import numpy as np
from mmengine.config import Config

from evidence.judges import METRIC, image_size, subnet_evaluator
from evidence.searches import hold_out_of_search, searched
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import ExportedBackend
from mmhybrid.latency.devices import Device
from mmhybrid.latency.kept import KeptNetworks
from mmhybrid.latency.profile import profile
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan, plan_rounds, run_rounds
from mmhybrid.search.candidate import Candidate
from mmhybrid.space import Arch
from mmhybrid.utils.files import write_json

TABLE, FOUND = 'latency.json', 'found.json'
RANDOM_NETWORKS = 1000  # of whose costs limits are shares
YARDSTICKS = 4  # networks of the table, which tell the speed of the machine since
AT_ONCE = 6  # networks that are measured together


@dataclass(frozen=True)
class WithinLatency:
    """Mean top-1 of the best networks that searches find and whose measured latency keeps a budget.

    All limits are shares of random networks of the space that keep them, so that no row has a machine's milliseconds.
    What the searches find is ranked by their images, and measured from the best one on until enough networks keep the
    budget; their top-1 is that on the other images. What was measured is written into ``found.json`` beside the score.

    Args:
        stages: Of each search, as of SearchLoop.
        limits: Of each search: the estimate that is bounded, and the share of networks within.
        budget: Share of networks within the latency that is measured, on ONNX Runtime with one thread.
        count: Networks of the mean.
        networks: That the latency table is measured with.
    """

    stages: Mapping[str, Any]
    limits: Sequence[tuple[str, float]]
    budget: float
    count: int = 3
    networks: int = 40

    def score(self, cfg: Config, weights: str) -> float:
        """See :class:`Judge`."""
        images = hold_out_of_search(cfg)
        workload = Workload.of_model(cfg.model, image_size(cfg), cfg.default_scope)
        file = Path(weights).parents[1] / TABLE  # beside the seeds of the training that arms share
        table = measured_table(workload, file, self.networks)
        estimate = Estimator(workload, table)
        rng = Random(0)
        costs = [estimate(workload.space.sample(rng)) for _ in range(RANDOM_NETWORKS)]
        within = {
            (name, share): float(np.quantile([getattr(cost, name) for cost in costs], share))
            for name, share in (*self.limits, ('latency_ms', self.budget))
        }
        found: dict[Arch, Candidate] = {}
        for name, share in self.limits:
            own = copy.deepcopy(cfg)
            own.work_dir = str(Path(cfg.work_dir, f'{name}_{share}'))
            limit = {name: {'max': within[name, share]}}
            result = searched(own, weights, images, self.stages, limit, str(file))
            found |= {candidate.arch: candidate for candidate in result.top()}
        ranked = sorted(found.values(), key=lambda one: (-one.numbers[METRIC], one.numbers['macs_m']))
        most = within['latency_ms', self.budget]
        chosen, told = [], []
        for candidate, milliseconds in measured(table, workload, ranked, file.with_suffix('.networks')):
            told.append({'arch': dict(candidate.arch), **candidate.numbers, 'measured_ms': milliseconds})
            if milliseconds <= most:
                chosen.append(candidate.arch)
            if len(chosen) == self.count:
                break
        limits = [{'estimate': name, 'share': share, 'max': limit} for (name, share), limit in within.items()]
        write_json(Path(cfg.work_dir, FOUND), {'limits': limits, 'measured': told})
        if not chosen:
            raise ValueError(f'none of {len(told)} networks keeps {most:.3g} ms; what they take is in {FOUND}')
        judge = subnet_evaluator(cfg, weights)
        return fmean(judge(arch)[METRIC] for arch in chosen)


def measured_table(workload: Workload, file: Path, networks: int) -> LatencyTable:
    """The table in ``file``, which the first of several processes measures, from where it was interrupted."""
    with file.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            device = Device.here('cpu', 'onnxruntime', 'float32', batch=1, threads=1, clock='thread')
            profile(workload, device, Plan(networks=networks), file)
    return LatencyTable.load(file)


def measured(
    table: LatencyTable, workload: Workload, candidates: Sequence[Candidate], folder: Path
) -> Iterator[tuple[Candidate, float]]:
    """Each candidate with its milliseconds at the speed that the machine had when the table was measured.

    A few are measured at a time, beside networks of the table. Exported networks are kept in ``folder``, for other
    seeds too.
    """
    device, known = table.device, table.measurements[:YARDSTICKS]
    backend = device.open()
    assert isinstance(backend, ExportedBackend)
    kept = KeptNetworks(folder, workload, type(backend), device.dtype, device.batch)
    for begin in range(0, len(candidates), AT_ONCE):
        some = candidates[begin : begin + AT_ONCE]
        rounds = plan_rounds(workload, [Arch(one.arch) for one in known] + [one.arch for one in some])
        run_rounds(rounds, workload, backend, device.batch, Plan(repeats=20), kept=kept)
        now = rounds.measurements()
        speed = geometric_mean(then.ms / again.ms for then, again in zip(known, now, strict=False))
        yield from ((one, speed * again.ms) for one, again in zip(some, now[len(known) :], strict=True))
