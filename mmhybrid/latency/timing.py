"""Timing of whole networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import Backend, ExportedBackend, Job, random_images
from mmhybrid.latency.kept import KeptNetworks
from mmhybrid.latency.on_device import add_rounds
from mmhybrid.latency.rounds import NUM_TIES, Group, Measurement, Rounds
from mmhybrid.space import Arch
from mmhybrid.utils.checks import check_int, check_keys

# Number of parameters of all networks in memory at once. A machine of 8 GiB has room for these and everything else.
MAX_PARAMS_IN_MEMORY = 500_000_000

# Networks of each resolution, and rounds, that a plan may have; those in files of others too.
MOST_NETWORKS = MOST_ROUNDS = 10_000


@dataclass(frozen=True)
class Plan:
    """Which networks are measured, and how often.

    Args:
        networks: Number of measured networks of each resolution.
        repeats: Number of times that every network is measured (rounds), at least two, so that the noise is known.
        warmup: Number of rounds before them that do not count.
        seed: Seed of the choice among networks of equal worth.
        held_out: Number of held-out networks of each resolution. They are random, and the table does not learn from
            them.
        held_params: Number of parameters of all networks in memory at once; None for :data:`MAX_PARAMS_IN_MEMORY`.
    """

    networks: int = 90
    repeats: int = 10
    warmup: int = 1
    seed: int = 0
    held_out: int = 0
    held_params: int | None = None

    def __post_init__(self) -> None:
        check_int('networks', self.networks, 2, MOST_NETWORKS)
        check_int('repeats', self.repeats, 2, MOST_ROUNDS)
        check_int('warmup', self.warmup, 0, MOST_ROUNDS)
        check_int('held_out', self.held_out, 0, MOST_NETWORKS)
        check_int('seed', self.seed, -(2**63), 2**63 - 1)
        if self.held_params is not None:
            check_int('held_params', self.held_params, 1, 2**63 - 1)

    @classmethod
    def parse(cls, name: str, raw: object) -> 'Plan':
        """Return a plan from JSON.

        Raises:
            ValueError: If a field is wrong; the message begins with ``name``.
        """
        check_keys(name, raw, [field.name for field in fields(cls)])
        known: Any = raw
        try:
            return cls(**known)
        except ValueError as error:
            raise ValueError(f'{name}.{error}') from error


def measure(workload: Workload, archs: Sequence[Arch], backend: Backend, batch: int, plan: Plan) -> list[Measurement]:
    """Time whole networks, and return each at the machine's speed in the first group.

    Args:
        workload: The networks of the space.
        archs: The networks to time.
        backend: The backend that runs them.
        batch: Batch size.
        plan: How often they are measured.
    """
    rounds = plan_rounds(workload, archs, plan.held_params)
    run_rounds(rounds, workload, backend, batch, plan)
    return rounds.measurements()


def run_rounds(
    rounds: Rounds,
    workload: Workload,
    backend: Backend,
    batch: int,
    plan: Plan,
    tick: Callable[[], object] = lambda: None,
    kept: KeptNetworks | None = None,
) -> None:
    """Add the rounds that ``plan`` asks for and ``rounds`` lacks; ``tick`` is called after each.

    Each round runs every network of a group, so that a change of the machine's speed affects all of them alike.
    Networks that are ``kept`` are not exported again.
    """
    generator = torch.Generator().manual_seed(plan.seed)
    for group in rounds.groups:
        if len(group.rounds) < plan.repeats:
            with backend.running():
                jobs = [_job(workload, arch, backend, batch, generator, kept) for arch in group.archs]
                run_round = partial(backend.time_round, jobs)
                add_rounds(group.rounds, run_round, plan.repeats, plan.warmup, tick)
                del jobs, run_round  # before the next group's networks need the memory


def plan_rounds(workload: Workload, archs: Sequence[Arch], held_params: int | None = None) -> Rounds:
    """Return groups of networks that fit into memory, without a round yet.

    Each group begins with the first :data:`NUM_TIES` archs.

    Args:
        workload: The networks of the space.
        archs: The networks to time.
        held_params: See :class:`Plan`.
    """
    most = MAX_PARAMS_IN_MEMORY if held_params is None else held_params
    sizes = [workload.params(arch) for arch in archs]
    ties, size_of_ties = list(archs[:NUM_TIES]), sum(sizes[:NUM_TIES])
    groups, size = [list(ties)], size_of_ties
    for arch, params in zip(archs[NUM_TIES:], sizes[NUM_TIES:], strict=True):
        if size + params > most and len(groups[-1]) > len(ties):
            groups.append(list(ties))
            size = size_of_ties
        groups[-1].append(arch)
        size += params
    return Rounds([Group(group) for group in groups])


def _job(
    workload: Workload, arch: Arch, backend: Backend, batch: int, generator: torch.Generator, kept: KeptNetworks | None
) -> Job:
    images = random_images(batch, *workload.input_shape(arch), generator=generator)
    if kept is None:
        return backend.build(workload.build_network(arch), images)
    assert isinstance(backend, ExportedBackend)
    return backend.load(kept.content(arch), images)
