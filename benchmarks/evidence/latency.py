"""A judge that searches within a latency, which is measured, and the latency table of its space."""

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
from mmhybrid.utils.files import drop_link_outward, open_own, write_json

TABLE, FOUND = 'latency.json', 'found.json'
RANDOM_NETWORKS = 1000  # networks of whose costs the limits are quantiles
YARDSTICKS = 4  # networks of the table that are measured again, to correct for the speed of the machine
AT_ONCE = 6  # number of networks that are measured together


@dataclass(frozen=True)
class WithinLatency:
    """Mean top-1 of the best networks that searches find and whose measured latency is within a budget.

    The networks of all searches are ranked by the images of the search and measured, from the best one on, until
    enough of them are within the budget. These are scored on the other half of the held-out images. The measured
    latencies are written to ``found.json`` beside the score. Limits are quantiles of random networks of the space, so
    that a row does not depend on the speed of a machine.

    Args:
        stages: Stages of each search, as SearchLoop takes them.
        limits: For each search, the estimate that it bounds and the quantile that is the bound.
        budget: Quantile of the latency on ONNX Runtime with one thread that is the budget.
        count: Number of networks whose top-1 is averaged.
        networks: Number of networks with which the latency table is measured.
    """

    stages: Mapping[str, Any]
    limits: Sequence[tuple[str, float]]
    budget: float
    count: int = 3
    networks: int = 40

    def score(self, cfg: Config, weights: str) -> float:
        """See :class:`Judge`."""
        images = hold_out_of_search(cfg)
        workload = Workload.of_model(cfg.model, image_size(cfg)[0], cfg.default_scope)
        file = Path(weights).parents[1] / TABLE  # beside the seeds of the training, which the arms share
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
        drop_link_outward(Path(cfg.work_dir, FOUND))
        write_json(Path(cfg.work_dir, FOUND), {'limits': limits, 'measured': told})
        if not chosen:
            raise ValueError(f'none of {len(told)} networks keeps {most:.3g} ms; what they take is in {FOUND}')
        judge = subnet_evaluator(cfg, weights)
        return fmean(judge(arch)[METRIC] for arch in chosen)


def measured_table(workload: Workload, file: Path, networks: int) -> LatencyTable:
    """The table in ``file``; if it is missing, the first of several processes measures it, or continues to."""
    with open_own(file.with_suffix('.lock'), append=True) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            device = Device.here('cpu', 'onnxruntime', 'float32', batch=1, threads=1, clock='thread')
            profile(workload, device, Plan(networks=networks), file)
    return LatencyTable.load(file)


def measured(
    table: LatencyTable, workload: Workload, candidates: Sequence[Candidate], folder: Path
) -> Iterator[tuple[Candidate, float]]:
    """Measure candidates, and yield each with its milliseconds at the speed of the machine that the table has.

    They are measured a few at a time, beside networks of the table. Exported networks are kept in ``folder``, also for
    other seeds.
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
